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

/* What became of a packet. */
enum plainness {
	PLAIN_DONE,
	PLAIN_NEW, /* it is plain, and the first of its connection: begin.h */
	PLAIN_NOT, /* it is as it came */
};

/* A destination of which all but DEST_AVAILABLE is false is reached plainly. */
#define DEST_SPECIAL (DEST_AVAILABLE | DEST_LOCAL | DEST_NO_ROUTE | DEST_NO_HOP)
#define DEST_SPECIAL_IN_TUNNELS (DEST_SPECIAL | DEST_SHIM)

/* A plain packet under way, and what it is found to belong to. */
struct plain {
	struct packet pkt;
	struct found found;
	const struct dest *dest;
	__u32 now;
	__u32 ifindex; /* by which it leaves */
	int action;    /* of XDP, once it is done */
};

/* What a header's checksum gains by one hop less: TTL is the low byte of its 16 bits. */
#define GAIN_BY_HOP 0xfffe

/*
 * lessen_and_replace is lessen_hop_limit() and the replacement of an address, either the IPv4 or
 * the IPv6 one, in one: a checksum follows both at once.
 */
static __always_inline __u64 lessen_and_replace(struct packet *pkt, __be32 *ipv4,
						struct in6_addr *ipv6, const union addr *to)
{
	if (pkt->ipv6) {
		pkt->ip6->hop_limit--;
		return replace_ipv6(ipv6, to);
	}
	pkt->ip->ttl--;
	return replace_ipv4_and(pkt->ip, ipv4, to, GAIN_BY_HOP);
}

/* translate changes a port, and lets the checksum follow what it gains by that and by an address.
 */
static __always_inline void translate(struct packet *pkt, __u64 change, __be16 *port, __be16 to)
{
	__u16 sum;

	change += csum_change16(*port, to);
	*port = to;
	sum = csum_fold((__u16) ~*pkt->check + change);
	*pkt->check = ~sum;
	if (unlikely(sum == 0xffff) && pkt->flow.proto == IPPROTO_UDP)
		*pkt->check = 0xffff; /* UDP knows no checksum of 0 */
}

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

static __always_inline void find_check(struct packet *pkt)
{
	pkt->check = pkt->flow.proto == IPPROTO_TCP ? &((struct tcphdr *)pkt->l4)->check
						    : &((struct udphdr *)pkt->l4)->check;
}

/* Neither is it to be read (FTP), nor is a checksum to be made for it (UDP). */
static __always_inline int may_be_translated(struct packet *pkt, __be16 vport)
{
	find_check(pkt);
	return pkt->flow.proto == IPPROTO_TCP ? vport != bpf_htons(FTP_PORT) : *pkt->check != 0;
}

static __always_inline __u32 plain_overhead(const struct dest *dest)
{
	return dest->flags & DEST_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* Whether nothing stands against sending it on to its real server. */
static __always_inline int may_go_on(struct plain *plain, enum forwarding forwarding, __be16 vport)
{
	const int tunnel = forwarding == FORWARDING_TUNNEL;
	const struct dest *dest = plain->dest;
	struct packet *pkt = &plain->pkt;
	__u32 overhead = tunnel ? plain_overhead(dest) : 0;

	return (dest->flags & (tunnel ? DEST_SPECIAL_IN_TUNNELS : DEST_SPECIAL)) ==
		       DEST_AVAILABLE &&
	       pkt->length + overhead <= dest->mtu &&
	       (forwarding != FORWARDING_MASQ || may_be_translated(pkt, vport));
}

/* The second word of an outer header: encapsulate(). */
static __always_inline __be32 fragment_of(const struct inner *inner)
{
	if (inner->dont_fragment)
		return bpf_htonl(IP_DF);
	return clock_shift == CLOCK_STANDS ? (__u16)test.dice : new_id();
}

static __always_inline int encapsulate_plain(struct xdp_md *ctx, struct plain *plain)
{
	struct inner inner = inner_of(&plain->pkt);

	if (plain->dest->flags & DEST_IPV6)
		return put_ipv6(ctx, &plain->pkt, plain->dest, &inner);
	return put_ipv4(ctx, &plain->pkt, plain->dest, &inner, fragment_of(&inner));
}

/* forward_plain makes a request what goes to its real server; 0: there is no room for that. */
static __always_inline int forward_plain(struct xdp_md *ctx, struct plain *plain,
					 enum forwarding forwarding)
{
	const struct dest *dest = plain->dest;
	struct packet *pkt = &plain->pkt;
	struct ports *ports = pkt->l4;

	plain->ifindex = dest->next.ifindex;
	if (forwarding == FORWARDING_MASQ)
		translate(pkt,
			  lessen_and_replace(pkt, &pkt->ip->daddr, &pkt->ip6->daddr, &dest->rip),
			  &ports->dest, real_port(plain->found.conn->flags, dest, ports->dest));
	else
		lessen_hop_limit(pkt);
	if (forwarding == FORWARDING_TUNNEL && !encapsulate_plain(ctx, plain))
		return 0;
	address_ether(pkt->eth, &dest->next);
	return 1;
}

static __always_inline enum verdict verdict_of(enum forwarding forwarding)
{
	switch (forwarding) {
	case FORWARDING_MASQ:
		return VERDICT_MASQ_IN;
	case FORWARDING_TUNNEL:
		return VERDICT_TUNNEL;
	default:
		return VERDICT_ROUTE;
	}
}

static __always_inline int send_by_known(struct xdp_md *ctx, __u32 ifindex)
{
	int action = send_known(ctx, ifindex);

	return likely(action != XDP_DROP) ? action : send_tagged(ctx, ifindex);
}

static __always_inline enum plainness drop_plain(struct plain *plain, enum verdict verdict)
{
	plain->action = XDP_DROP;
	note_verdict(verdict, state_of(plain->found.life));
	return PLAIN_DONE;
}

/* send_plain sends what is forwarded, and counts it. */
static __always_inline enum plainness send_plain(struct xdp_md *ctx, struct plain *plain,
						 enum verdict verdict)
{
	plain->action = send_by_known(ctx, plain->ifindex);
	if (unlikely(plain->action == XDP_DROP))
		return drop_plain(plain, VERDICT_NO_PORT);
	note_verdict(verdict, state_of(plain->found.life));
	return PLAIN_DONE;
}

/* request_by goes on with a request that is found, likewise. */
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
