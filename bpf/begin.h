/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a plain packet (plain.h) begins a connection, if nothing is special about its
 * service but the scheduler. It comes to what it would come to by admit(), which what
 * is special goes on to as it came. If something is special about the real server, its
 * connection is there by then, and the packet is one of a known connection.
 */
#ifndef LVSX_BEGIN_H
#define LVSX_BEGIN_H

#include "conn.h"
#include "load.h"
#include "maps.h"
#include "plain.h"
#include "sched.h"
#include "service.h"
#include "types.h"

/* Where a packet's connection is to be. */
struct site {
	struct place place;
	struct group *group; /* the first */
	int kin;	     /* others with its tag may be there */
};

/*
 * is_known tells whether the packet has a connection. UDP's has not: director() has looked
 * (plain.h).
 */
static __always_inline int is_known(struct plain *plain, struct site *site)
{
	const struct packet *pkt = &plain->pkt;
	struct found found;
	enum glance seen;
	struct flow flow;

	if (pkt->flow.proto == IPPROTO_UDP)
		return 0;
	seen = glance_in(site->group, &site->place, &pkt->flow, REQUEST, plain->now, &found);
	if (seen == GLANCE_NOWHERE || (seen == GLANCE_PASSED && !is_past(&site->place)))
		return 0;
	if (seen == GLANCE_FOUND)
		return 1;
	site->kin = 1;
	found = (struct found){};
	flow = pkt->flow; /* so that only here it is in memory */
	find_beyond(&flow, REQUEST, plain->now, &found);
	return found.conn != NULL;
}

/* What may be special about a service. NULL: something is, or nobody has found it yet. */
static __always_inline struct service *find_plain_service(const struct flow *flow, __u32 *number)
{
	struct service *service;

	if (settings.switches.drop_rate || flow->port.source == bpf_htons(FTP_DATA_PORT) ||
	    (settings.wildcards && flow->proto == IPPROTO_TCP))
		return NULL;
	service = guess_service(flow, number);
	return service && !(service->flags & (SERVICE_PERSISTENT | SERVICE_ONE_PACKET)) ? service
											: NULL;
}

/* DEST_NONE: none by the list or the table alone. */
static __always_inline __u32 choose_plain(struct service *service, __u32 number,
					  const struct packet *pkt)
{
	__u32 dest = next_in_turn(service);
	struct flow flow;

	if (likely(dest != DEST_NONE))
		return dest;
	if (is_hashing(READ_ONCE(service->scheduler))) {
		flow = pkt->flow;
		return look_up(number, &flow);
	}
	return READ_ONCE(service->scheduler) <= SCHEDULER_OVF ? choose(number) : DEST_NONE;
}

/* The state that the packet leaves the connection in; none, if take_any() goes on with it. */
static __always_inline enum state first_state(struct plain *plain, enum forwarding forwarding)
{
	const struct packet *pkt = &plain->pkt;

	if (!may_go_on(plain, forwarding, pkt->flow.port.dest))
		return STATE_NONE;
	if (pkt->flow.proto == IPPROTO_UDP)
		return STATE_UDP;
	return tcp_step(STATE_NONE,
			forwarding & FORWARDING_ONE_SIDED ? HALF_INPUT_ONLY : HALF_INPUT,
			EVENT_SYN);
}

/* Until when it lasts if no other packet comes. */
static __always_inline __u32 first_end(const struct plain *plain, enum state state)
{
	const struct timeout_set *set = &settings.timeouts[plain->dest->timeouts];

	return plain->now + (state == STATE_NONE ? settings.first_timeout
						 : set->states[state & (STATE_SLOTS - 1)]);
}

/* claim_site leaves a life BUSY for the connection: where it is, or NULL if there is no room. */
static __always_inline __u32 *claim_site(const struct site *site, __u32 now, __u32 *location)
{
	const struct place *place = &site->place;
	__u32 i = favourite_of(place), *at = life_at(site->group, i);

	if (likely(occupy(at, place, now))) {
		*location = place->first * GROUP_CONNS + i + 1;
		return at;
	}
	if (is_flooded(place) && !site->kin) {
		*location = displace_in(site->group, place->first, place, now);
		if (likely(*location))
			return life_of(*location);
	}
	*location = find_room(place->first, place->rest, now);
	return *location ? life_of(*location) : NULL;
}

/* enter_plain enters the connection; 0: there is no room. */
static __always_inline int enter_plain(const struct xdp_md *ctx, struct plain *plain,
				       const struct site *site, enum state state,
				       enum forwarding forwarding)
{
	struct found *found = &plain->found;
	__u32 location, *at = claim_site(site, plain->now, &location);
	struct conn *conn = at ? conn_at(location) : NULL;

	if (!conn)
		return 0;
	fill(conn, &plain->pkt.flow, found->dest, (enum conn_flags)forwarding,
	     first_end(plain, state));
	if (state != STATE_NONE)
		count_request(conn);
	conn->rest.hop = client_hop_from(plain->pkt.eth, ctx->ingress_ifindex);
	conn->control = 0;
	account_begin(found->dest, is_active(state));
	found->conn = conn;
	found->location = location;
	found->life = bring_alive(at, state);
	return 1;
}

/* is_ours tells whether it is our connection still that the packet is of: conn.h, settle(). */
static __always_inline int is_ours(const struct plain *plain, const struct site *site)
{
	struct found found;
	struct flow flow;

	if (likely(count_alike_from(site->group, &site->place) <= 1))
		return 1;
	found = plain->found;
	flow = plain->pkt.flow;
	settle(&flow, plain->now, &found);
	return found.location == plain->found.location;
}

/* choose_for_plain chooses the real server; 0: something is special, or there is none. */
static __always_inline int choose_for_plain(struct plain *plain)
{
	const struct packet *pkt = &plain->pkt;
	__u32 number = 0;
	struct service *service = find_plain_service(&pkt->flow, &number);

	if (!service)
		return 0;
	plain->found.dest = choose_plain(service, number, pkt);
	plain->dest = dest_of(&plain->found);
	return plain->dest != NULL;
}

/* begin_and_send enters the connection, and sends the packet on. */
static __always_inline enum plainness begin_and_send(struct xdp_md *ctx, struct plain *plain,
						     const struct site *site)
{
	enum forwarding forwarding = plain->dest->forwarding;
	struct packet *pkt = &plain->pkt;
	enum state state;

	state = first_state(plain, forwarding);
	if (!enter_plain(ctx, plain, site, state, forwarding)) {
		plain->found.life = 0;
		return drop_plain(plain, VERDICT_TABLE_FULL);
	}
	if (!is_ours(plain, site))
		return PLAIN_NOT;
	if (state == STATE_NONE) {
		count_conn(plain->found.dest);
		return PLAIN_NOT;
	}
	count_begin(plain->found.dest, pkt->length);
	find_check(pkt); /* here, so that Linux 6.1 knows where it is */
	if (!forward_plain(ctx, plain, forwarding))
		return drop_plain(plain, VERDICT_NO_ROOM);
	return send_plain(ctx, plain, verdict_of(forwarding));
}

static __always_inline enum plainness begin_plain_of(struct xdp_md *ctx, struct plain *plain)
{
	struct packet *pkt = &plain->pkt;
	struct site site = { .kin = 0 };

	if (!open_plain(ctx, pkt))
		return PLAIN_NOT;
	read_flow(pkt);
	plain->now = present().now;
	site.place = place_of_flow(&pkt->flow, REQUEST);
	site.group = group_at(site.place.first);
	if (!site.group || is_known(plain, &site) || !choose_for_plain(plain))
		return PLAIN_NOT;
	return begin_and_send(ctx, plain, &site);
}

/* begin_plain is the whole way of a plain packet that begins a connection, up to an action. */
static __always_inline enum plainness begin_plain(struct xdp_md *ctx, int *action)
{
	struct plain ipv4 = { .pkt.ipv6 = 0 }, ipv6 = { .pkt.ipv6 = 1 };
	enum plainness plainness;

	if (!open_plain(ctx, &ipv4.pkt))
		return PLAIN_NOT;
	if (ether_type(ipv4.pkt.eth) == bpf_htons(ETH_P_IP)) {
		plainness = begin_plain_of(ctx, &ipv4);
		*action = ipv4.action;
	} else {
		plainness = begin_plain_of(ctx, &ipv6);
		*action = ipv6.action;
	}
	return plainness;
}

#endif
