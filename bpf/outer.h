/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The outer IP header: is it a tunnel of ours, and from whom? */
#ifndef LVSX_OUTER_H
#define LVSX_OUTER_H

#include "addr.h"
#include "csum.h"
#include "wrapped.h"
#include "extension.h"

#define FRAGMENT_OFFSET 0x1fff /* in units of 8 bytes */
#define FRAGMENT_MORE 0x2000
#define FRAGMENT_ANY 0x3fff /* offset or more fragments */
#define IP_LONGEST 0xffff

static __always_inline enum verdict ipv4_flaw(const struct iphdr *outer)
{
	if (outer->ihl != 5)
		return VERDICT_OUTER_OPTIONS;
	return ip_csum(outer) ? VERDICT_OUTER_CHECKSUM : VERDICT_UNWRAPPED;
}

/* Only the last fragment shows where all of it ends. */
static __always_inline void note_fragment(struct wrapped *t, __u32 id, __u16 offset, bool more)
{
	t->id = id;
	t->offset = offset;
	t->more = more;
	t->whole = more ? t->payload + IP_LONGEST : t->end;
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
	note_fragment(t, bpf_ntohs(outer->id), (bpf_ntohs(outer->frag_off) & FRAGMENT_OFFSET) * 8,
		      outer->frag_off & bpf_htons(FRAGMENT_MORE));
	return true;
}

static __always_inline enum verdict ipv6_flaw(const struct chain *chain)
{
	__u32 fragment = chain->fragmented ? sizeof(struct fragment_header) : 0;
	__u32 place = sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + fragment;

	return chain->place == place ? VERDICT_UNWRAPPED : VERDICT_OUTER_OPTIONS;
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
	note_fragment(t, bpf_ntohl(chain.id), chain.offset, chain.more);
	return true;
}

static __always_inline bool is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE;
}

/*
 * is_given tells whether the packet is a tunnel of one of the types that are
 * taken here. Of a later fragment no port is seen.
 */
static __always_inline bool is_given(struct xdp_md *ctx, const struct wrapped *t)
{
	struct tunnel_type type = { .protocol = t->protocol };

	if (t->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, t->payload, sizeof(*udp));

		if (!udp || t->offset)
			return false;
		type.port = udp->dest;
	} else if (!is_tunnel(t->protocol)) {
		return false;
	}
	return bpf_map_lookup_elem(&tunnel_types, &type) != NULL;
}

/* read_outer tells whether a frame may be a tunnel's, and fills what its outer header says. */
static __always_inline bool read_outer(struct xdp_md *ctx, struct wrapped *t)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));

	if (!eth)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return read_outer_ipv4(ctx, t);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return read_outer_ipv6(ctx, t);
	return false;
}

/* Packets merged by GRO lie in several buffers: data_end is not their end. */
static __always_inline bool is_whole(struct xdp_md *ctx, const struct wrapped *t)
{
	return t->end <= bpf_xdp_get_buff_len(ctx) && t->end >= t->payload;
}

#endif
