/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A connection: how it is found, moves on, ends and begins. */
#ifndef LVSX_CONN_H
#define LVSX_CONN_H

#include "claim.h"
#include "control.h"
#include "ether.h"
#include "load.h"
#include "maps.h"
#include "packet.h"
#include "sctp.h"
#include "table.h"
#include "tcp.h"
#include "types.h"

enum direction {
	REQUEST, /* from the client to the VIP */
	REPLY,	 /* from a NAT real server to the client */
};

/* What a search found: the connection, and its life at that moment. */
struct found {
	struct conn *conn;
	__u32 location;
	__u32 life;
	__u32 dest;
};

static __always_inline struct dest *dest_of(const struct found *found)
{
	__u32 key = found->dest;

	return bpf_map_lookup_elem(&dests, &key);
}

static __always_inline enum forwarding forwarding_of(const struct conn *conn)
{
	return conn->flags & CONN_FORWARDING;
}

static __always_inline __be16 real_port(enum conn_flags flags, const struct dest *dest,
					__be16 vport)
{
	return dest->port && !(flags & CONN_KEEPS_PORT) ? dest->port : vport;
}

/* All bits in which two addresses differ; one branch tests a whole key. */
static __always_inline __u64 difference(const union addr *a, const union addr *b)
{
	return (a->halves[0] ^ b->halves[0]) | (a->halves[1] ^ b->halves[1]);
}

static __always_inline __u64 request_difference(const struct conn *conn, const struct flow *flow)
{
	return difference(&conn->cip, &flow->src) | difference(&conn->vip, &flow->dst) |
	       (*(const bytes4 *)&conn->cport ^ *(const bytes4 *)&flow->port) |
	       (conn->proto ^ flow->proto);
}

static __always_inline __u64 reply_difference(const struct conn *conn, const struct flow *flow)
{
	return difference(&conn->cip, &flow->dst) | (conn->cport ^ flow->port.dest) |
	       (conn->proto ^ flow->proto) | (forwarding_of(conn) ^ FORWARDING_MASQ);
}

/* The real address stands in the destination. */
static __always_inline int is_from(const struct conn *conn, __u32 key, const struct flow *flow)
{
	struct dest *dest = bpf_map_lookup_elem(&dests, &key);

	return dest && is_equal(&dest->rip, &flow->src) &&
	       real_port(conn->flags, dest, conn->vport) == flow->port.source;
}

/* is_of tells whether an entry is of the flow's connection, and not over. */
static __always_inline int is_of(const struct conn *conn, const struct flow *flow,
				 enum direction direction, __u32 now)
{
	if (direction == REQUEST ? request_difference(conn, flow) : reply_difference(conn, flow))
		return 0;
	return !is_expired(conn, now) &&
	       (direction == REQUEST || is_from(conn, READ_ONCE(conn->dest), flow));
}

/*
 * match tells whether the life numbered i of a group, which is live and has the
 * flow's tag, is of the flow's connection.
 */
static __always_inline int match(struct group *group, __u32 index, __u32 i, const struct flow *flow,
				 enum direction direction, __u32 now, struct found *found)
{
	__u32 *at = life_at(group, i);
	__u32 life = READ_ONCE(*at), location = index * GROUP_CONNS + i + 1;
	struct conn *conn = conn_at(location);

	if (!conn || !is_of(conn, flow, direction, now))
		return 0;
	found->location = location;
	found->dest = READ_ONCE(conn->dest);
	found->life = READ_ONCE(*at);
	/* Taken over or marked dead while it was read: what was read may be another's. */
	if (!is_same(found->life, life) || phase_of(life) != PHASE_LIVE)
		return 0;
	found->conn = conn;
	return 1;
}

static __always_inline struct place place_of_flow(const struct flow *flow, enum direction direction)
{
	if (direction == REQUEST)
		return place_of(&flow->src, flow->port.source, flow->proto);
	return place_of(&flow->dst, flow->port.dest, flow->proto);
}

/* A search through all groups where a connection may be. */
struct hunt {
	const struct flow *flow;
	enum direction direction;
	__u32 now;
	__u32 except;	/* a location not meant, 0: none */
	__u32 location; /* what was found */
	struct place place;
	__u32 index;  /* of the group to look at */
	__u32 beyond; /* groups after the second that were looked at */
	__u64 alike;  /* its lives that are still to be looked at */
};

static __always_inline void enter_group(struct hunt *hunt, __u32 index)
{
	struct group *group = group_at(index);

	hunt->index = index;
	hunt->alike = group ? lives_of(group, &hunt->place) : 0;
}

/* Where a connection that went past a group may be: claim.h, claim_beyond(). */
static __always_inline int leads_on(const struct hunt *hunt, const struct group *group)
{
	enum passed passed = passed_from(group);

	if (hunt->index == hunt->place.first)
		return passed != PASSED_NOT;
	return passed == PASSED_WITH_KIN || (passed == PASSED_BEYOND && hunt->beyond < PATIENCE);
}

/* One life at a time: loops in loops are more than the verifier has patience for. */
static long hunt_step(__u32 turn __attribute__((unused)), struct hunt *hunt)
{
	__u32 index = hunt->index;
	__u32 location = index * GROUP_CONNS + lowest(hunt->alike) + 1;
	struct group *group;

	if (hunt->alike && location != hunt->except) {
		const struct conn *conn = conn_at(location);

		if (conn && is_of(conn, hunt->flow, hunt->direction, hunt->now)) {
			hunt->location = location;
			return 1;
		}
	}
	hunt->alike &= hunt->alike - 1;
	if (hunt->alike)
		return 0;
	group = group_at(index);
	if (!group || !leads_on(hunt, group))
		return 1;
	hunt->beyond += index != hunt->place.first;
	index = group_after(&hunt->place, index);
	if (index == NO_GROUP)
		return 1;
	enter_group(hunt, index);
	return 0;
}

/* So many lives are looked at. */
#define HUNT_STEPS (1 << 13)

/*
 * locate looks into all groups. A function of its own, so that the verifier
 * looks through it once. The connection's location, or 0.
 */
__noinline __u32 locate(const struct flow *flow, enum direction direction, __u32 now, __u32 except)
{
	struct hunt hunt = { .flow = flow, .direction = direction, .now = now, .except = except };

	if (!flow)
		return 0;
	hunt.place = place_of_flow(flow, direction);
	enter_group(&hunt, hunt.place.first);
	bpf_loop(HUNT_STEPS, hunt_step, &hunt, 0);
	return hunt.location;
}

/* fetch looks at what is at a location, if it is what the flow is of. */
static __always_inline int fetch(__u32 location, const struct flow *flow, enum direction direction,
				 __u32 now, struct found *found)
{
	__u32 index = (location - 1) / GROUP_CONNS;
	struct group *group = group_at(index);

	return group &&
	       match(group, index, (location - 1) % GROUP_CONNS, flow, direction, now, found);
}

static __always_inline int find_anywhere(const struct flow *flow, enum direction direction,
					 __u32 now, struct found *found)
{
	__u32 location = locate(flow, direction, now, 0);

	return location && fetch(location, flow, direction, now, found);
}

/* More than there are in two groups: there are others to look at. */
#define ALIKE_BEYOND 32

/* How many lives have the connection's tag, where it is if it went to its second group at most. */
static __always_inline __u32 count_alike(const struct place *place)
{
	struct group *group = group_at(place->first);
	__u32 count;

	if (!group)
		return ALIKE_BEYOND;
	count = count_lives(lives_of(group, place));
	if (passed_from(group) == PASSED_NOT)
		return count;
	group = group_at(second_of(place));
	if (!group || passed_from(group) >= PASSED_BEYOND)
		return ALIKE_BEYOND;
	return count + count_lives(lives_of(group, place));
}

static __noinline void find_beyond(const struct flow *flow, enum direction direction, __u32 now,
				   struct found *found)
{
	struct place place = place_of_flow(flow, direction);

	if (count_alike(&place))
		find_anywhere(flow, direction, now, found);
}

static __always_inline int has_key(struct group *group, __u32 i, __u32 key)
{
	return (READ_ONCE(*life_at(group, i)) & LIFE_KEY_MASK) == key;
}

/* What became of a search where connections are in the first place. */
enum glance {
	GLANCE_FOUND,
	GLANCE_NOWHERE, /* there is no such connection */
	GLANCE_BEYOND,	/* it may be elsewhere */
};

/* glance looks where most connections are, and nearly all: in the first group, at their favourite
 * place there, and alone with their tag. */
static __always_inline enum glance glance(const struct place *place, const struct flow *flow,
					  enum direction direction, __u32 now, struct found *found)
{
	struct group *group = group_at(place->first);
	__u32 i = favourite_of(place);
	__u64 alike = 1;

	if (!group)
		return GLANCE_NOWHERE;
	if (!has_key(group, i, key_of(place))) {
		fetch_ahead(place); /* the CPU guesses, and is here before the group is */
		alike = lives_of(group, place);
		i = lowest(alike);
	}
	if (likely(alike) && match(group, place->first, i, flow, direction, now, found))
		return GLANCE_FOUND;
	return alike || READ_ONCE(group->passed) ? GLANCE_BEYOND : GLANCE_NOWHERE;
}

static __always_inline int find_conn(const struct place *place, const struct flow *flow,
				     enum direction direction, __u32 now, struct found *found)
{
	enum glance seen = glance(place, flow, direction, now, found);

	if (seen == GLANCE_FOUND)
		return 1;
	if (seen == GLANCE_NOWHERE)
		return 0;
	find_beyond(flow, direction, now, found);
	return found->conn != NULL; /* which the verifier can follow */
}

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

/* count_request counts up to as many packets as drop_entry minds. */
static __always_inline void count_request(struct conn *conn)
{
	if ((conn->flags & CONN_PACKETS) != CONN_PACKETS)
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

/* publish lets an entry that was claimed and filled be found. */
static __always_inline void publish(struct conn *conn, __u32 location, struct found *found)
{
	__u32 *at = life_of(location);

	found->conn = conn;
	found->location = location;
	found->dest = conn->dest;
	if (!at)
		return;
	found->life = with_phase(READ_ONCE(*at), PHASE_LIVE);
	/* An exchange, not a store: it orders the writes before it on every CPU. */
	__sync_lock_test_and_set(at, found->life);
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
	account_begin(choice->dest);
	publish(conn, location, found);
	if (unlikely(!is_alone(place.first, place.rest)))
		settle(&pkt->flow, now, found);
	return 1;
}

#endif
