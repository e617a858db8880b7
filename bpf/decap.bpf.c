/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/*
 * The decapsulator of a real server: takes the tunnel's headers off packets
 * that a director sent, where the kernel has no device to do it.
 *
 *   before   Ethernet | outer IP: director > real server | GRE, or UDP and GUE, or nothing |
 *            inner IP: client > VIP | ...
 *   after    Ethernet | inner IP: client > VIP | ...
 *
 * Outer and inner are IPv4 or IPv6, each by itself. A tunnel is a way around
 * address filters, so all that is not exactly what a director makes is
 * dropped, each reason counted under its own name.
 *
 * A packet's way: outer.h -> unpack.h -> inner.h -> finish.h -> unpack.h: unwrap();
 * trust.h says whose. Of one in fragments: outer.h -> unpack.h -> inner.h -> outer_fragment.h,
 * and for the later ones outer.h -> outer_fragment.h.
 */
#include "decap.h"
#include "outer.h"
#include "unpack.h"
#include "inner.h"
#include "trust.h"
#include "finish.h"
#include "outer_fragment.h"
#include "clamp.h"

/* A later fragment of UDP shows no port: it is a tunnel's if its predecessor was. */
static __always_inline bool is_tunneled(struct xdp_md *ctx, const struct wrapped *t)
{
	if (unlikely(t->offset) && t->protocol == IPPROTO_UDP)
		return has_predecessor(t);
	return is_given(ctx, t);
}

static __always_inline enum verdict decapsulate(struct xdp_md *ctx)
{
	struct wrapped t = {};
	enum verdict verdict;

	if (likely(!read_outer(ctx, &t) || !is_tunneled(ctx, &t)))
		return VERDICT_NOT_TUNNEL;
	verdict = check_outer(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED && unlikely(t.offset))
		return follow_fragment(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED)
		verdict = open_tunnel(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED)
		verdict = check_inner(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED && unlikely(t.more))
		return begin_fragments(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED && (t.summed || t.remote))
		verdict = check_sums(ctx, &t);
	if (verdict == VERDICT_UNWRAPPED)
		verdict = carry_congestion(ctx, &t);
	return verdict == VERDICT_UNWRAPPED ? unwrap(ctx, &t) : verdict;
}

static __always_inline void count(enum verdict verdict)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);

	if (packets)
		(*packets)++;
}

/* xdp.frags: jumbo frames and merged packets, of which only the headers are read. */
SEC("xdp.frags")
int decap(struct xdp_md *ctx)
{
	enum verdict verdict = decapsulate(ctx);

	count(verdict);
	switch (verdict) {
	case VERDICT_NOT_TUNNEL:
	case VERDICT_NOT_OURS:
	case VERDICT_UNWRAPPED:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

/* On the way out, to clients. */
SEC("tc")
int clamp(struct __sk_buff *skb)
{
	clamp_segments(skb);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
