/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The packet in the tunnel: is it whole, and no tunnel itself? */
#ifndef LVSX_INNER_H
#define LVSX_INNER_H

#include "addr.h"
#include "csum.h"
#include "wrapped.h"
#include "extension.h"
#include "outer.h"

#define ECN_MASK 3
#define ECN_ECT_1 1
#define ECN_ECT_0 2
#define ECN_CE 3

/*
 * RFC 1858: a fragment that starts eight bytes into the packet overwrites what
 * a filter saw of the TCP header; one that ends behind 65535 is no IP packet.
 */
static __always_inline bool is_odd_fragment(__u32 offset, __u32 length)
{
	return offset == 8 || offset + length > 65535;
}

/* The kernel checks the inner header's checksum itself. */
static __always_inline enum verdict read_inner_ipv4(struct xdp_md *ctx, struct wrapped *t)
{
	struct iphdr *inner = at(ctx, t->inner, sizeof(*inner));
	__u32 length, offset;

	if (!inner || inner->version != 4 || inner->ihl < 5)
		return VERDICT_MALFORMED;
	length = bpf_ntohs(inner->tot_len);
	if (length < inner->ihl * 4 || t->inner + length > t->whole)
		return VERDICT_MALFORMED;
	if (is_tunnel(inner->protocol))
		return VERDICT_NESTED;
	offset = (bpf_ntohs(inner->frag_off) & FRAGMENT_OFFSET) * 8;
	if (is_odd_fragment(offset, length))
		return VERDICT_INNER_FRAGMENT;
	t->inner_end = t->inner + length;
	if (!(inner->frag_off & bpf_htons(FRAGMENT_ANY))) {
		t->l4 = t->inner + inner->ihl * 4;
		t->l4_protocol = inner->protocol;
	}
	t->source = from_ipv4(inner->saddr);
	t->dest = from_ipv4(inner->daddr);
	return VERDICT_UNWRAPPED;
}

static __always_inline enum verdict read_inner_ipv6(struct xdp_md *ctx, struct wrapped *t)
{
	struct ipv6hdr *inner = at(ctx, t->inner, sizeof(*inner));
	struct chain chain = { .place = t->inner + sizeof(*inner) };
	__u32 length;

	if (!inner || inner->version != 6)
		return VERDICT_MALFORMED;
	length = sizeof(*inner) + bpf_ntohs(inner->payload_len);
	if (t->inner + length > t->whole)
		return VERDICT_MALFORMED;
	t->inner_end = t->inner + length;
	chain.protocol = inner->nexthdr;
	if (unlikely(is_extension(chain.protocol)))
		follow_all(ctx, &chain);
	if ((is_extension(chain.protocol) && !chain.offset) || chain.place > t->inner_end)
		return VERDICT_MALFORMED;
	if (is_tunnel(chain.protocol))
		return VERDICT_NESTED;
	/* Without the header, of which the length says nothing, and that of the fragment. */
	if (chain.fragmented &&
	    is_odd_fragment(chain.offset, length - sizeof(*inner) - sizeof(struct fragment_header)))
		return VERDICT_INNER_FRAGMENT;
	if (!chain.fragmented) {
		t->l4 = chain.place;
		t->l4_protocol = chain.protocol;
	}
	t->source = from_ipv6(&inner->saddr);
	t->dest = from_ipv6(&inner->daddr);
	/* An IPv4 address in an IPv6 header would pass for a VIP. */
	return is_ipv4(&t->source) || is_ipv4(&t->dest) ? VERDICT_MARTIAN : VERDICT_UNWRAPPED;
}

static __always_inline enum verdict read_inner(struct xdp_md *ctx, struct wrapped *t)
{
	return t->ipv6 ? read_inner_ipv6(ctx, t) : read_inner_ipv4(ctx, t);
}

/*
 * RFC 6040, section 4.2, the kernel's INET_ECN_decapsulate(): what the inner
 * mark becomes. A router on the tunnel's way can mark the outer header only.
 */
static __always_inline __u8 carried_ecn(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return ECN_CE;
	return outer == ECN_ECT_1 && inner == ECN_ECT_0 ? ECN_ECT_1 : inner;
}

static __always_inline void set_ecn_ipv4(struct iphdr *inner, __u8 ecn)
{
	__u8 tos = (inner->tos & ~ECN_MASK) | ecn;

	inner->check =
		csum_apply(inner->check, csum_change16(bpf_htons(inner->tos), bpf_htons(tos)));
	inner->tos = tos;
}

static __always_inline enum verdict carry_congestion(struct xdp_md *ctx, const struct wrapped *t)
{
	struct ipv6hdr *inner = at(ctx, t->inner, sizeof(struct iphdr));
	__u8 before, after;

	if (!inner)
		return VERDICT_MALFORMED;
	before = (t->ipv6 ? inner->flow_lbl[0] >> 4 : ((struct iphdr *)inner)->tos) & ECN_MASK;
	after = carried_ecn(t->tos & ECN_MASK, before);
	if (likely(before == after))
		return VERDICT_UNWRAPPED;
	if (!before)
		return VERDICT_CONGESTION;
	if (t->ipv6)
		inner->flow_lbl[0] = (inner->flow_lbl[0] & ~(ECN_MASK << 4)) | after << 4;
	else
		set_ecn_ipv4((struct iphdr *)inner, after);
	return VERDICT_UNWRAPPED;
}

#endif
