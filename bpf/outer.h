/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The outer IP header: is it a tunnel of ours, and from whom? */
#ifndef LVSX_OUTER_H
#define LVSX_OUTER_H

#include "addr.h"
#include "csum.h"
#include "wrapped.h"
#include "extension.h"

#define FRAGMENT_OFFSET 0x1fff /* in units of 8 bytes */
#define FRAGMENT_ANY 0x3fff    /* offset or more fragments */

static __always_inline enum verdict ipv4_flaw(const struct iphdr *outer)
{
	if (outer->ihl != 5)
		return VERDICT_OUTER_OPTIONS;
	if (ip_csum(outer))
		return VERDICT_OUTER_CHECKSUM;
	if (outer->frag_off & bpf_htons(FRAGMENT_ANY))
		return VERDICT_OUTER_FRAGMENT;
	return VERDICT_UNWRAPPED;
}

static __always_inline bool read_outer_ipv4(struct xdp_md *ctx, struct wrapped *t)
{
	struct iphdr *outer = at(ctx, sizeof(struct ethhdr), sizeof(*outer));

	if (!outer || outer->version != 4 || outer->ihl < 5)
		return false;
	t->from = from_ipv4(outer->saddr);
	t->to = from_ipv4(outer->daddr);
	t->protocol = outer->protocol;
	t->tos = outer->tos;
	t->payload = sizeof(struct ethhdr) + outer->ihl * 4;
	t->end = sizeof(struct ethhdr) + bpf_ntohs(outer->tot_len);
	t->flaw = ipv4_flaw(outer);
	return t->protocol != IPPROTO_UDP || !(outer->frag_off & bpf_htons(FRAGMENT_OFFSET));
}

static __always_inline enum verdict ipv6_flaw(const struct chain *chain)
{
	if (chain->fragmented)
		return VERDICT_OUTER_FRAGMENT;
	return chain->extended ? VERDICT_OUTER_OPTIONS : VERDICT_UNWRAPPED;
}

static __always_inline bool read_outer_ipv6(struct xdp_md *ctx, struct wrapped *t)
{
	struct ipv6hdr *outer = at(ctx, sizeof(struct ethhdr), sizeof(*outer));
	struct chain chain = { .place = sizeof(struct ethhdr) + sizeof(*outer) };

	if (!outer || outer->version != 6)
		return false;
	chain.protocol = outer->nexthdr;
	if (unlikely(is_extension(chain.protocol)))
		follow_all(ctx, &chain);
	t->from = from_ipv6(&outer->saddr);
	t->to = from_ipv6(&outer->daddr);
	/* An IPv4 address in an IPv6 header would pass for a director's, or for ours. */
	if (is_ipv4(&t->from) || is_ipv4(&t->to))
		t->from = (union addr){};
	t->protocol = chain.protocol;
	t->tos = outer->priority << 4 | outer->flow_lbl[0] >> 4;
	t->payload = chain.place;
	t->end = sizeof(struct ethhdr) + sizeof(*outer) + bpf_ntohs(outer->payload_len);
	t->flaw = ipv6_flaw(&chain);
	return t->protocol != IPPROTO_UDP || !chain.offset;
}

static __always_inline bool is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE;
}

/* is_given tells whether the packet is a tunnel of one of the types that are taken here. */
static __always_inline bool is_given(struct xdp_md *ctx, const struct wrapped *t)
{
	struct tunnel_type type = { .protocol = t->protocol };

	if (t->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, t->payload, sizeof(*udp));

		if (!udp)
			return false;
		type.port = udp->dest;
	} else if (!is_tunnel(t->protocol)) {
		return false;
	}
	return bpf_map_lookup_elem(&tunnel_types, &type) != NULL;
}

/* read_outer tells whether a frame is a tunnel's, and fills what its outer header says. */
static __always_inline bool read_outer(struct xdp_md *ctx, struct wrapped *t)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));

	if (!eth)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return read_outer_ipv4(ctx, t) && is_given(ctx, t);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return read_outer_ipv6(ctx, t) && is_given(ctx, t);
	return false;
}

/* Packets merged by GRO lie in several buffers: data_end is not their end. */
static __always_inline bool is_whole(struct xdp_md *ctx, const struct wrapped *t)
{
	return t->end <= bpf_xdp_get_buff_len(ctx) && t->end >= t->payload;
}

#endif
