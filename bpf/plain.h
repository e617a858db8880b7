/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plain packets take a shorter way: of either family, without options or
 * extensions, whole, TCP or UDP, in the middle of their connection, from and to
 * where nothing is special. Nearly all are such. What may be special is asked for
 * a few times at once, and what is read stays in registers. They come to what
 * they would come to by direct() and conclude(); what is not plain goes there,
 * as it came.
 */
#ifndef LVSX_PLAIN_H
#define LVSX_PLAIN_H

#include "conn.h"
#include "ether.h"
#include "forward.h"
#include "front.h"
#include "ftp.h"
#include "maps.h"
#include "packet.h"
#include "plain_packet.h"
#include "reset.h"
#include "service.h"
#include "tunnel.h"
#include "types.h"
#include "vlan.h"

/* No actions of XDP. */
#define NOT_PLAIN -1
#define NEW_PLAIN -2 /* plain, and the first of its connection: begin.h */

/* A destination of which all but DEST_AVAILABLE is false is reached plainly. */
#define DEST_SPECIAL (DEST_AVAILABLE | DEST_LOCAL | DEST_NO_ROUTE | DEST_NO_HOP)

/* A plain packet under way, and what it is found to belong to. */
struct plain {
	struct packet pkt;
	struct found found;
	enum glance seen;
	const struct dest *dest;
	__u32 now;
	__u32 ifindex; /* by which it leaves */
};

/* Whether a packet in the middle leaves a connection in its state. */
static __always_inline int is_settled(const struct found *found)
{
	const __u32 settled = found->conn->proto == IPPROTO_TCP
				      ? with_state(0, STATE_ESTABLISHED)
				      : with_state(LIFE_CONFIRMED, STATE_UDP);

	return (found->life & with_state(LIFE_CONFIRMED, LIFE_STATE_MASK)) == settled;
}

/* translate changes a port, and lets the checksum follow what it gains by that and by an address.
 */
static __always_inline void translate(struct packet *pkt, __u64 change, __be16 *port, __be16 to)
{
	pkt->check = check_of(pkt->l4, pkt->flow.proto);
	change += csum_change16(*port, to);
	*port = to;
	follow_change(pkt, change);
}

static __always_inline int is_plain_dest(const struct dest *dest)
{
	return (dest->flags & DEST_SPECIAL) == DEST_AVAILABLE;
}

static __always_inline int find_plain(struct plain *plain, enum direction direction)
{
	struct packet *pkt = &plain->pkt;
	struct place place = place_of_flow(&pkt->flow, direction);

	plain->seen = glance(&place, &pkt->flow, direction, plain->now, &plain->found);
	if (plain->seen != GLANCE_FOUND || !is_settled(&plain->found))
		return 0;
	plain->dest = &dests[plain->found.dest & (DESTS - 1)];
	return is_plain_dest(plain->dest);
}

/* Neither is a checksum to be made for it (UDP), nor is it to be read (FTP). */
static __always_inline int may_be_translated(const struct packet *pkt, __be16 vport)
{
	return (pkt->flow.proto == IPPROTO_TCP || ((struct udphdr *)pkt->l4)->check) &&
	       vport != bpf_htons(FTP_PORT);
}

/* Whether nothing stands against sending it on to its real server. */
static __always_inline int may_go_on(const struct plain *plain, enum forwarding forwarding,
				     __be16 vport)
{
	const struct dest *dest = plain->dest;
	const struct packet *pkt = &plain->pkt;
	__u32 overhead = 0;

	if (forwarding == FORWARDING_TUNNEL) {
		if (dest->tunnel)
			return 0;
		overhead = outer_length(&dest->rip);
	}
	return pkt->length + overhead <= dest->mtu &&
	       (forwarding != FORWARDING_MASQ || may_be_translated(pkt, vport));
}

/* throw_id is the id of a tunnel's packet that may be fragmented. */
static __always_inline __u16 throw_id(void)
{
	struct moment moment = present();

	return roll(&moment);
}

static __always_inline int encapsulate_plain(struct xdp_md *ctx, struct packet *pkt,
					     const struct dest *dest)
{
	struct inner inner = inner_of(pkt);

	if (!is_ipv4(&dest->rip))
		return put_ipv6(ctx, pkt, dest, &inner);
	return put_ipv4(ctx, pkt, dest, &inner, inner.dont_fragment ? 0 : throw_id());
}

static __always_inline enum verdict forward_plain(struct xdp_md *ctx, struct plain *plain,
						  enum forwarding forwarding)
{
	const struct dest *dest = plain->dest;
	struct packet *pkt = &plain->pkt;
	struct ports *ports = pkt->l4;
	enum verdict verdict = VERDICT_ROUTE;

	lessen_hop_limit(pkt);
	switch (forwarding) {
	case FORWARDING_MASQ:
		translate(pkt, replace_destination(pkt, &dest->rip), &ports->dest,
			  real_port(plain->found.conn->flags, dest, ports->dest));
		verdict = VERDICT_MASQ_IN;
		break;
	case FORWARDING_TUNNEL:
		if (!encapsulate_plain(ctx, pkt, dest))
			return VERDICT_NO_ROOM;
		verdict = VERDICT_TUNNEL;
		break;
	default:
		break;
	}
	address_ether(pkt->eth, &dest->next);
	plain->ifindex = dest->next.ifindex;
	return verdict;
}

/* request_by goes on with a request that is found, by a method that is known when it is compiled.
 */
static __always_inline enum verdict request_by(struct xdp_md *ctx, struct plain *plain,
					       enum forwarding forwarding)
{
	struct conn *conn = plain->found.conn;

	if (!may_go_on(plain, forwarding, conn->vport))
		return VERDICT_COUNT;
	count_in(plain->found.dest, plain->pkt.length);
	count_request(conn);
	stay(conn, state_of(plain->found.life), HALF_INPUT, plain->dest->timeouts, plain->now);
	return forward_plain(ctx, plain, forwarding);
}

/* VERDICT_COUNT: it is not plain. */
static __always_inline enum verdict request_plain(struct xdp_md *ctx, struct plain *plain)
{
	if (!find_plain(plain, REQUEST))
		return VERDICT_COUNT;
	switch (forwarding_of(plain->found.conn)) {
	case FORWARDING_MASQ:
		return request_by(ctx, plain, FORWARDING_MASQ);
	case FORWARDING_TUNNEL:
		return request_by(ctx, plain, FORWARDING_TUNNEL);
	case FORWARDING_ROUTE:
		return request_by(ctx, plain, FORWARDING_ROUTE);
	default:
		return VERDICT_COUNT;
	}
}

/* Likewise. */
static __always_inline enum verdict reply_plain(struct xdp_md *ctx, struct plain *plain)
{
	const struct interface *from = find_interface(ctx->ingress_ifindex), *out;
	struct packet *pkt = &plain->pkt;
	struct conn *conn;
	struct hop next;

	if (!find_plain(plain, REPLY))
		return VERDICT_COUNT;
	conn = plain->found.conn;
	out = find_interface(conn->rest.hop.ifindex);
	if (conn->hop_epoch != READ_ONCE(settings.epoch) || !out->ifindex ||
	    (__u16)out->ifindex != conn->rest.hop.ifindex || out->flags & INTERFACE_LOCAL ||
	    pkt->length > out->mtu || is_merged(pkt, from) || !may_be_translated(pkt, conn->vport))
		return VERDICT_COUNT;
	count_out(plain->found.dest, pkt->length);
	stay(conn, state_of(plain->found.life), HALF_OUTPUT, plain->dest->timeouts, plain->now);
	lessen_hop_limit(pkt);
	translate(pkt, replace_source(pkt, &conn->vip), &((struct ports *)pkt->l4)->source,
		  conn->vport);
	next = client_hop_by(&conn->rest.hop, out);
	address_ether(pkt->eth, &next);
	plain->ifindex = next.ifindex;
	return VERDICT_MASQ_OUT;
}

static __always_inline int send_by_known(struct xdp_md *ctx, __u32 ifindex)
{
	int action = send_known(ctx, ifindex);

	return likely(action != XDP_DROP) ? action : send_tagged(ctx, ifindex);
}

/* send_plain sends what is forwarded, and counts it. */
static __always_inline int send_plain(struct xdp_md *ctx, const struct plain *plain,
				      enum verdict verdict)
{
	int action = verdict == VERDICT_NO_ROOM ? XDP_DROP : send_by_known(ctx, plain->ifindex);

	if (unlikely(action == XDP_DROP) && verdict != VERDICT_NO_ROOM)
		verdict = VERDICT_NO_PORT;
	note_verdict(verdict, state_of(plain->found.life));
	return action;
}

/* take_plain_of is take_plain() of one family, which is known when it is compiled. */
static __always_inline int take_plain_of(struct xdp_md *ctx, int ipv6)
{
	struct plain plain = { .pkt.ipv6 = ipv6 };
	__u32 ifindex = ctx->ingress_ifindex;
	enum verdict verdict;
	int out;

	if (!read_plain(ctx, &plain.pkt))
		return NOT_PLAIN;
	out = may_be_rip(&plain.pkt.flow.src);
	if (!out && !may_be_vip(&plain.pkt.flow.dst)) {
		note_verdict(VERDICT_NOT_OURS, STATE_NONE);
		return XDP_PASS;
	}
	if (!came_plainly(&plain.pkt, find_interface(ifindex), ifindex))
		return NOT_PLAIN;
	if (!is_midstream(&plain.pkt))
		return !out && is_opening(&plain.pkt) ? NEW_PLAIN : NOT_PLAIN;
	plain.now = present().now;
	verdict = out ? reply_plain(ctx, &plain) : request_plain(ctx, &plain);
	if (verdict != VERDICT_COUNT)
		return send_plain(ctx, &plain, verdict);
	return !out && plain.seen == GLANCE_NOWHERE && plain.pkt.flow.proto == IPPROTO_UDP
		       ? NEW_PLAIN
		       : NOT_PLAIN;
}

/* take_plain is the whole way of a plain packet; NOT_PLAIN: it is none, and as it came; NEW_PLAIN:
 * begin_plain() goes on with it. */
static __always_inline int take_plain(struct xdp_md *ctx)
{
	struct packet pkt = { .ipv6 = 0 };

	if (unlikely(settings.fronts) || !open_plain(ctx, &pkt))
		return NOT_PLAIN;
	switch (ether_type(pkt.eth)) {
	case bpf_htons(ETH_P_IP):
		return take_plain_of(ctx, 0);
	case bpf_htons(ETH_P_IPV6):
		return take_plain_of(ctx, 1);
	default:
		return NOT_PLAIN;
	}
}

#endif
