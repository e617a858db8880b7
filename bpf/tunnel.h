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
 * outer_header is what goes in front: TTL is the inner one's, already lessened,
 * DF likewise. Without DF the header needs an id of its own.
 */
static __always_inline struct iphdr outer_header(const struct iphdr *inner, __be32 from, __be32 to,
						 __u16 id)
{
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = outer_tos(inner->tos),
		.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + sizeof(outer)),
		.frag_off = inner->frag_off & bpf_htons(IP_DF),
		.ttl = inner->ttl,
		.protocol = IPPROTO_IPIP,
		.saddr = from,
		.daddr = to,
	};

	if (!outer.frag_off)
		outer.id = id;
	outer.check = ip_csum(&outer);
	return outer;
}

static __always_inline int encapsulate(struct xdp_md *ctx, struct packet *pkt,
				       const struct dest *dest)
{
	__be32 from = to_ipv4(&dest->tunnel_source), to = to_ipv4(&dest->rip);
	struct iphdr outer;

	if (pkt->hands_over) {
		pkt->handover = (struct handover){ 0, HANDOVER_TUNNEL, from, to, 0, 0 };
		return 1;
	}
	outer = outer_header(pkt->ip, from, to,
			     pkt->ip->frag_off & bpf_htons(IP_DF) ? 0 : roll(&pkt->moment));
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
