/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TUN: the packet, unchanged, inside one for the real server (RFC 2003). */
#ifndef LVSX_TUNNEL_H
#define LVSX_TUNNEL_H

#include "csum.h"
#include "packet.h"
#include "types.h"

/*
 * The outer TOS: the inner one, but a mark of congestion becomes ECT(0) so that
 * it is not counted twice (include/net/inet_ecn.h: INET_ECN_encapsulate()).
 */
static __always_inline __u8 outer_tos(__u8 tos)
{
	return (tos & 3) == 3 ? (tos & ~3) | 2 : tos;
}

/*
 * encapsulate puts an IPv4 header in front; TTL is the inner one's, already
 * lessened, DF likewise. Without DF the header needs an id of its own.
 */
static __always_inline int encapsulate(struct xdp_md *ctx, struct packet *pkt,
				       const struct dest *dest)
{
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = outer_tos(pkt->ip->tos),
		.tot_len = bpf_htons(pkt->length + sizeof(outer)),
		.frag_off = pkt->ip->frag_off & bpf_htons(IP_DF),
		.ttl = pkt->ip->ttl,
		.protocol = IPPROTO_IPIP,
		.saddr = to_ipv4(&dest->tunnel_source),
		.daddr = to_ipv4(&dest->rip),
	};

	if (!outer.frag_off)
		outer.id = roll(&pkt->moment);
	outer.check = ip_csum(&outer);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(outer)))
		return 0;

	pkt->eth = (void *)(long)ctx->data;
	pkt->end = (void *)(long)ctx->data_end;
	pkt->ip = (void *)(pkt->eth + 1);
	if ((void *)(pkt->ip + 1) > pkt->end)
		return 0;
	*pkt->ip = outer;
	pkt->eth->h_proto = bpf_htons(ETH_P_IP);
	return 1;
}

#endif
