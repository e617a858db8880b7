/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plain packets take a shorter way: of either family, without options or
 * extensions, whole, TCP or UDP, in the middle of their connection, from and to
 * where nothing is special. Nearly all are such. What may be special is asked for
 * a few times at once, and what is read stays in registers, or in the packet.
 * They come to what they would come to by direct() and conclude(); what is not
 * plain goes there, as it came.
 */
#ifndef LVSX_PLAIN_H
#define LVSX_PLAIN_H

#include "conn.h"
#include "maps.h"
#include "packet.h"
#include "plain_forward.h"
#include "plain_packet.h"
#include "service.h"
#include "types.h"

/* What was seen of a connection that a packet in the middle leaves in its state, or of none. */
static __always_inline enum glance pick_settled(const struct packet *pkt, enum direction direction,
						struct seen *seen)
{
	struct place place = place_of_flow(&pkt->flow, direction);

	return pick(first_group(&place), &place, LIFE_KEY_MASK | SETTLED_MASK,
		    key_of(&place) | settled_by(pkt), seen);
}

/* find_settled finds it, and its destination. */
static __always_inline int find_settled(struct plain *plain, const struct seen *seen,
					enum direction direction)
{
	struct packet *pkt = &plain->pkt;
	struct conn *conn = conn_at(seen->location);

	plain->now = present().now;
	reread(pkt);
	if (!conn || !match_conn(conn, seen, ~0u, &pkt->flow, direction, plain->now, &plain->found))
		return 0;
	reread(pkt);
	plain->dest = &dests[plain->found.dest & (DESTS - 1)];
	return 1;
}

/* request_by goes on with a request that is found, by a method that is known when it is compiled.
 */
static __always_inline enum plainness request_by(struct xdp_md *ctx, struct plain *plain,
						 enum forwarding forwarding)
{
	struct conn *conn = plain->found.conn;

	if (!may_go_on(plain, forwarding, conn->vport))
		return PLAIN_NOT;
	stay(conn, state_of(plain->found.life), HALF_INPUT, plain->dest->timeouts, plain->now);
	count_request(conn);
	if (!forward_plain(ctx, plain, forwarding)) {
		count_in(plain->found.dest, plain->pkt.length);
		return drop_plain(plain, VERDICT_NO_ROOM);
	}
	count_in(plain->found.dest, plain->pkt.length);
	return send_plain(ctx, plain, verdict_of(forwarding));
}

static __always_inline enum plainness request_plain(struct xdp_md *ctx, struct plain *plain)
{
	const struct packet *pkt = &plain->pkt;
	enum glance glance;
	struct seen seen;

	if (!is_midstream(pkt))
		return is_opening(pkt) ? PLAIN_NEW : PLAIN_NOT;
	glance = pick_settled(pkt, REQUEST, &seen);
	if (glance == GLANCE_NOWHERE && pkt->flow.proto == IPPROTO_UDP)
		return PLAIN_NEW;
	if (glance != GLANCE_FOUND || !find_settled(plain, &seen, REQUEST))
		return PLAIN_NOT;
	switch (forwarding_of(plain->found.conn)) {
	case FORWARDING_MASQ:
		return request_by(ctx, plain, FORWARDING_MASQ);
	case FORWARDING_TUNNEL:
		return request_by(ctx, plain, FORWARDING_TUNNEL);
	case FORWARDING_ROUTE:
		return request_by(ctx, plain, FORWARDING_ROUTE);
	default:
		return PLAIN_NOT;
	}
}

static __always_inline enum plainness reply_plain(struct xdp_md *ctx, struct plain *plain)
{
	const struct interface *from = find_interface(ctx->ingress_ifindex), *out;
	struct packet *pkt = &plain->pkt;
	struct conn *conn;
	struct seen seen;
	struct hop next;

	if (!is_midstream(pkt) || pick_settled(pkt, REPLY, &seen) != GLANCE_FOUND ||
	    !find_settled(plain, &seen, REPLY))
		return PLAIN_NOT;
	conn = plain->found.conn;
	out = find_interface(conn->rest.hop.ifindex);
	if ((plain->dest->flags & (DEST_AVAILABLE | DEST_LOCAL)) != DEST_AVAILABLE ||
	    conn->hop_epoch != READ_ONCE(settings.epoch) || !out->ifindex ||
	    (__u16)out->ifindex != conn->rest.hop.ifindex || out->flags & INTERFACE_LOCAL ||
	    pkt->length > out->mtu || is_merged(pkt, from) || !may_be_translated(pkt, conn->vport))
		return PLAIN_NOT;
	count_out(plain->found.dest, pkt->length);
	stay(conn, state_of(plain->found.life), HALF_OUTPUT, plain->dest->timeouts, plain->now);
	translate(pkt, lessen_and_replace(pkt, &pkt->ip->saddr, &pkt->ip6->saddr, &conn->vip),
		  &((struct ports *)pkt->l4)->source, conn->vport);
	next = client_hop_by(&conn->rest.hop, out);
	address_ether(pkt->eth, &next);
	plain->ifindex = next.ifindex;
	return send_plain(ctx, plain, VERDICT_MASQ_OUT);
}

/* take_plain_of is take_plain() of one family, which is known when it is compiled. */
static __always_inline enum plainness take_plain_of(struct xdp_md *ctx, struct plain *plain)
{
	struct packet *pkt = &plain->pkt;
	__u32 ifindex = ctx->ingress_ifindex;
	int out;

	if (!read_plain(ctx, pkt))
		return PLAIN_NOT;
	out = may_be_rip(&pkt->flow.src);
	if (!out && !may_be_vip(&pkt->flow.dst)) {
		if (unlikely(settings.fronts)) /* it may be a tunnel */
			return PLAIN_NOT;
		note_verdict(VERDICT_NOT_OURS, STATE_NONE);
		plain->action = XDP_PASS;
		return PLAIN_DONE;
	}
	if (!came_plainly(pkt, find_interface(ifindex), ifindex))
		return PLAIN_NOT;
	/* What a real server says to a VIP may be either: direct() looks for a reply first. */
	return out ? reply_plain(ctx, plain) : request_plain(ctx, plain);
}

/* take_plain is the whole way of a plain packet, up to an action. */
static __always_inline enum plainness take_plain(struct xdp_md *ctx, int *action)
{
	struct plain ipv4 = { .pkt.ipv6 = 0 }, ipv6 = { .pkt.ipv6 = 1 };
	enum plainness plainness = PLAIN_NOT;

	if (!open_plain(ctx, &ipv4.pkt))
		return PLAIN_NOT;
	if (ether_type(ipv4.pkt.eth) == bpf_htons(ETH_P_IP)) {
		plainness = take_plain_of(ctx, &ipv4);
		*action = ipv4.action;
	} else if (ether_type(ipv4.pkt.eth) == bpf_htons(ETH_P_IPV6)) {
		plainness = take_plain_of(ctx, &ipv6);
		*action = ipv6.action;
	}
	return plainness;
}

#endif
