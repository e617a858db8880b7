/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A connection: how it moves on, ends and begins. */
#ifndef LVSX_CONN_H
#define LVSX_CONN_H

#include "claim.h"
#include "control.h"
#include "ether.h"
#include "find.h"
#include "load.h"
#include "maps.h"
#include "packet.h"
#include "sctp.h"
#include "table.h"
#include "tcp.h"
#include "types.h"

/* end takes a connection out of the table and out of its destination's count. */
static __noinline void end(const struct found *found, __u32 now)
{
	struct remains gone = remains_of(found->conn);
	__u32 *at = life_of(found->location), life;

	if (!at)
		return;
	life = READ_ONCE(*at);
	if (!is_same(life, found->life) || is_controlling(found->conn))
		return;
	if (__sync_val_compare_and_swap(
		    at, life, with_phase(with_state(life, STATE_NONE), PHASE_DEAD)) == life)
		account_gone(&gone, is_active(state_of(life)), now);
}

/*
 * is_assuring tells whether a connection's template learns now that a server
 * answered: TCP or SCTP is established (once), UDP's server was heard.
 */
static __always_inline int is_assuring(const struct conn *conn, enum state state, enum half half)
{
	if (conn->proto == IPPROTO_UDP)
		return half == HALF_OUTPUT;
	return (state == STATE_ESTABLISHED || state == STATE_SCTP_ESTABLISHED) &&
	       !(conn->flags & CONN_CONFIRMED);
}

/* count_request counts up to as many packets as drop_entry minds, and always, as the kernel. */
static __always_inline void count_request(struct conn *conn)
{
	if (unlikely(conn->flags < CONN_PACKETS))
		conn->flags += 1 << CONN_PACKETS_SHIFT;
}

/*
 * DR and TUN: the director does not see what the real server says, unless that is
 * the director itself.
 */
static __always_inline enum half half_of(const struct conn *conn, const struct dest *dest)
{
	if (!(conn->flags & FORWARDING_ONE_SIDED) ||
	    (unlikely(dest->flags & DEST_LOCAL) && settings.local_ifindex))
		return HALF_INPUT;
	return HALF_INPUT_ONLY;
}

/* exchange gives the connection another life, if it still has the one that was found. */
static __always_inline int exchange(const struct found *found, __u32 life)
{
	__u32 *at = life_of(found->location);

	return at && __sync_val_compare_and_swap(at, found->life, life) == found->life;
}

/* Of UDP, which is confirmed by its second packet. */
static __always_inline int is_unconfirmed(__u32 life)
{
	return state_of(life) == STATE_UDP && !(life & LIFE_CONFIRMED);
}

static __always_inline void move(struct found *found, enum state state, enum state next)
{
	__u32 life = with_state(found->life, next);

	if (state == STATE_UDP)
		life |= LIFE_CONFIRMED;
	if (exchange(found, life) && is_active(next) != is_active(state))
		account_activity(found->dest, is_active(next) ? 1 : -1);
}

/* stay restarts the timer of the state that a connection is in. */
static __always_inline void stay(struct conn *conn, enum state state, enum half half, __u8 timeouts,
				 __u32 now)
{
	__u32 expires = now + settings.timeouts[timeouts].states[state & (STATE_SLOTS - 1)];

	if (unlikely(conn->control) && is_assuring(conn, state, half)) {
		conn->flags |= CONN_CONFIRMED;
		assure_template(conn->control);
	}
	/* A line that is not written stays shared between CPUs. */
	if (conn->expires != expires)
		conn->expires = expires;
}

/*
 * step moves the connection to its next state and restarts its timer. Only
 * whoever exchanges the state changes the destination's count.
 */
static __always_inline enum state step(struct found *found, enum half half, enum event event,
				       __u8 timeouts, __u32 now)
{
	struct conn *conn = found->conn;
	enum state state = state_of(found->life), next = STATE_UDP;

	if (conn->proto == IPPROTO_TCP)
		next = tcp_step(state, half, event);
	else if (unlikely(conn->proto == IPPROTO_SCTP))
		next = sctp_step(state, half, event) &
		       0xff; /* no more than TCP's, for the verifier */
	if (unlikely(next != state || is_unconfirmed(found->life)))
		move(found, state, next);
	stay(conn, next, half, timeouts, now);
	return next;
}

/*
 * Two CPUs may enter the same connection at once. Each publishes its own, then
 * looks for another's; as a publication is seen by who looks after his own, one
 * of both at least sees both. The lower location stays, whoever sees it.
 */
static __noinline void settle(const struct flow *flow, __u32 now, struct found *found)
{
	__u32 other = locate(flow, REQUEST, now, found->location);
	struct found theirs = {};

	if (!other)
		return;
	if (other > found->location) {
		if (fetch(other, flow, REQUEST, now, &theirs))
			end(&theirs, now);
		return;
	}
	end(found, now);
	fetch(other, flow, REQUEST, now, found);
}

/* is_alone tells that no other connection can be the same as one just published. */
__noinline int is_alone(__u32 first, __u32 rest)
{
	const struct place place = { .first = first, .rest = rest };

	return count_alike(&place) <= 1;
}

/* What was decided for a new connection. */
struct choice {
	__u32 dest;
	__u32 control; /* location of its template, that is held for it; 0: none */
	__u16 place;   /* of the packet's transport header in the frame */
	__u16 size;    /* of what is there; 0: it is only quoted */
	enum conn_flags flags;
	__u8 once;     /* 1: no connection is made */
	__u16 arrival; /* as the packet has it */
	__u32 teller;  /* of FTP's data: location of its control connection; 0: other connections */
};

/* What is being decided: it would not fit on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct choice);
} choices SEC(".maps");

/* fill writes what an entry is found by, and where it leads. */
static __always_inline void fill(struct conn *conn, const struct flow *flow, __u32 dest,
				 enum conn_flags flags, __u32 expires)
{
	conn->cip = flow->src;
	conn->vip = flow->dst;
	conn->cport = flow->port.source;
	conn->vport = flow->port.dest;
	conn->proto = flow->proto;
	conn->flags = flags;
	conn->dest = dest;
	conn->expires = expires;
	conn->hop_epoch = 0;
	conn->teller = 0;
}

/* bring_alive makes a life that was claimed, and whose entry is filled, LIVE in a state. */
static __always_inline __u32 bring_alive(__u32 *at, enum state state)
{
	__u32 life = with_state(with_phase(READ_ONCE(*at), PHASE_LIVE), state);

	/* An exchange, not a store: it orders the writes before it on every CPU. */
	__sync_lock_test_and_set(at, life);
	return life;
}

/* publish lets an entry that was claimed and filled be found. */
static __always_inline void publish(struct conn *conn, __u32 location, struct found *found)
{
	__u32 *at = life_of(location);

	found->conn = conn;
	found->location = location;
	found->dest = conn->dest;
	if (at)
		found->life = bring_alive(at, STATE_NONE);
}

/* new_conn enters a connection for a request, or finds the one that another CPU entered. */
static __always_inline int new_conn(const struct packet *pkt, const struct choice *choice,
				    struct found *found)
{
	__u32 now = pkt->moment.now;
	struct place place = place_of_flow(&pkt->flow, REQUEST);
	__u32 location = find_room(place.first, place.rest, now);
	struct conn *conn = location ? conn_at(location) : NULL;

	if (!conn)
		return 0;
	fill(conn, &pkt->flow, choice->dest, choice->flags, now + settings.first_timeout);
	conn->rest.hop = client_hop_from(pkt->eth, pkt->arrival);
	conn->control = choice->control;
	conn->teller = choice->teller;
	account_begin(choice->dest, 0);
	publish(conn, location, found);
	if (unlikely(!is_alone(place.first, place.rest)))
		settle(&pkt->flow, now, found);
	return 1;
}

#endif
