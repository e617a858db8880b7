/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a plain packet (plain.h) goes on: whether nothing stands against it, and what is changed
 * by its forwarding method.
 */
#ifndef LVSX_PLAIN_FORWARD_H
#define LVSX_PLAIN_FORWARD_H

#include "ether.h"
#include "find.h"
#include "forward.h"
#include "front.h"
#include "ftp.h"
#include "interface.h"
#include "maps.h"
#include "nat.h"
#include "packet.h"
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

#endif
