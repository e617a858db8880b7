/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Checksums over a whole tunnel: GRE's and UDP's are checked, a remote one is finished. */
#ifndef LVSX_FINISH_H
#define LVSX_FINISH_H

#include "csum.h"
#include "wrapped.h"
#include "extension.h"

static __always_inline __u64 sum_addr(const union addr *addr)
{
	__u64 sum = addr->words[3];

	return is_ipv4(addr) ? sum : sum + addr->words[0] + addr->words[1] + addr->words[2];
}

/* The folded pseudo header of RFC 9293, section 3.1, and RFC 8200, section 8.1. */
static __always_inline __u16 pseudo_sum(const union addr *from, const union addr *to, __u8 protocol,
					__u32 length)
{
	return csum_fold(sum_addr(from) + sum_addr(to) + bpf_htonl(protocol) + bpf_htonl(length));
}

/* place_of_check returns where the inner TCP or UDP checksum stands, 0: there is none. */
static __always_inline __u32 place_of_check(const struct wrapped *t)
{
	if (t->l4 && t->l4_protocol == IPPROTO_TCP)
		return t->l4 + offsetof(struct tcphdr, check);
	if (t->l4 && t->l4_protocol == IPPROTO_UDP)
		return t->l4 + offsetof(struct udphdr, check);
	return 0;
}

/* No frame on the wire is above its interface's MTU: the kernel merged this one, having summed it.
 */
static __always_inline bool was_merged(struct xdp_md *ctx, const struct wrapped *t)
{
	__u32 length = t->end - sizeof(struct ethhdr);

	return bpf_check_mtu(ctx, 0, &length, 0, 0) == BPF_MTU_CHK_RET_FRAG_NEEDED;
}

/*
 * A sender on the other end of a veth leaves checksums to hardware that is not
 * there: the field holds the pseudo header's sum alone.
 */
static __always_inline bool is_sum_unfinished(struct xdp_md *ctx, const struct wrapped *t)
{
	struct udphdr *udp = at(ctx, t->payload, sizeof(*udp));
	__u32 place = place_of_check(t);
	__u16 *check = at(ctx, place, sizeof(*check));

	if (t->protocol == IPPROTO_UDP && udp &&
	    udp->check == pseudo_sum(&t->from, &t->to, IPPROTO_UDP, t->whole - t->payload))
		return true;
	return place && check &&
	       *check == pseudo_sum(&t->source, &t->dest, t->l4_protocol, t->inner_end - t->l4);
}

static __always_inline enum verdict check_sum(struct xdp_md *ctx, const struct wrapped *t)
{
	__u32 length = t->whole - t->payload;
	__u64 sum = 0;

	if (t->protocol == IPPROTO_UDP)
		sum = pseudo_sum(&t->from, &t->to, IPPROTO_UDP, length);
	if (csum_fold(csum_bytes(ctx, t->payload, length, sum)) == 0xffff)
		return VERDICT_UNWRAPPED;
	return was_merged(ctx, t) || is_sum_unfinished(ctx, t) ? VERDICT_UNWRAPPED
							       : VERDICT_OUTER_CHECKSUM;
}

/* finish_sum completes the checksum that --tun-remcsum leaves to the receiver. */
static __always_inline enum verdict finish_sum(struct xdp_md *ctx, const struct wrapped *t)
{
	__u32 place = place_of_check(t);
	__u16 *check = at(ctx, place, sizeof(*check)), sum;

	/* Directors leave the transport's, never another. */
	if (!place || !check || t->inner + t->remote_start != t->l4 ||
	    t->inner + t->remote_offset != place || place + sizeof(*check) > t->inner_end)
		return VERDICT_TUNNEL_HEADER;
	sum = ~csum_fold(csum_bytes(ctx, t->l4, t->inner_end - t->l4, 0));
	*check = sum || t->l4_protocol != IPPROTO_UDP ? sum : 0xffff;
	return VERDICT_UNWRAPPED;
}

static __noinline enum verdict check_sums(struct xdp_md *ctx, const struct wrapped *t)
{
	enum verdict verdict = VERDICT_UNWRAPPED;

	if (t->summed)
		verdict = check_sum(ctx, t);
	if (verdict == VERDICT_UNWRAPPED && t->remote)
		verdict = finish_sum(ctx, t);
	return verdict;
}

#endif
