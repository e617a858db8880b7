/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Nested directors: a front sends packets here in a tunnel, and they are
 * balanced again.
 *
 *   before   Ethernet | outer IP: front > this director | GRE, or UDP and GUE, or nothing |
 *            inner IP: client > VIP | ...
 *   after    Ethernet | inner IP: client > VIP | ..., on to take_any()
 *
 * A tunnel is a way around address filters: what comes out of it goes to a
 * virtual service, or nowhere.
 */
#ifndef LVSX_FRONT_H
#define LVSX_FRONT_H

#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"
#include "unwrapped.h"

/* What the headers below name more finely. */
#define VERDICT_UNWRAPPED VERDICT_COUNT
#define VERDICT_OUTER_OPTIONS VERDICT_BAD_TUNNEL
#define VERDICT_OUTER_CHECKSUM VERDICT_BAD_TUNNEL
#define VERDICT_TUNNEL_HEADER VERDICT_BAD_TUNNEL
#define VERDICT_INNER_FRAGMENT VERDICT_BAD_TUNNEL
#define VERDICT_CONGESTION VERDICT_BAD_TUNNEL

#include "outer.h"
#include "unpack.h"
#include "inner.h"
#include "finish.h"

struct address_set fronts SEC(".maps");
struct address_set dips SEC(".maps");

/* may_be_wrapped tells whether a packet that is not balanced as it is may be from a front. */
static __always_inline int may_be_wrapped(const struct packet *pkt, enum verdict verdict)
{
	return verdict <= VERDICT_OTHER_PROTOCOL && unlikely(settings.fronts) &&
	       (is_tunnel(pkt->flow.proto) || pkt->flow.proto == IPPROTO_UDP);
}

/*
 * confine keeps from the kernel what came out of a tunnel, but for packets to a
 * service. One of no connection it may answer, but not send on: that may lead to
 * the front again.
 */
static __always_inline enum verdict confine(const struct packet *pkt, enum verdict verdict)
{
	if (verdict >= VERDICT_MASQ_IN || verdict == VERDICT_LOCAL || verdict == VERDICT_BYPASS)
		return verdict;
	if (verdict == VERDICT_NO_CONNECTION && contains(&dips, &pkt->flow.dst) &&
	    find_service(&pkt->flow) != SERVICE_NONE)
		return verdict;
	return VERDICT_NOT_VIP;
}

/* judge_outer tells whether a front wrapped the packet, for this director. VERDICT_COUNT: yes. */
static __always_inline enum verdict judge_outer(struct xdp_md *ctx, const struct packet *pkt,
						struct wrapped *t)
{
	int is_ours = is_for_us(pkt, arrival_of(pkt));

	if (!read_outer(ctx, t) || !is_given(ctx, t) || !contains(&dips, &t->to))
		return is_tunnel(t->protocol) ? VERDICT_OTHER_PROTOCOL : VERDICT_NOT_OURS;
	if (!is_ours)
		return VERDICT_OTHER_HOST;
	if (!contains(&fronts, &t->from))
		return VERDICT_UNTRUSTED;
	if (t->flaw != VERDICT_UNWRAPPED)
		return t->flaw;
	if (t->offset || t->more)
		return VERDICT_OUTER_FRAGMENT;
	return is_whole(ctx, t) ? VERDICT_COUNT : VERDICT_BAD_TUNNEL;
}

/* judge_inner tells whether it may be for a service. What this machine has sent went in a circle.
 */
static __always_inline enum verdict judge_inner(struct xdp_md *ctx, struct wrapped *t)
{
	enum verdict verdict = read_inner(ctx, t);

	if (verdict == VERDICT_MALFORMED || verdict == VERDICT_MARTIAN)
		return VERDICT_BAD_TUNNEL;
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	if (!may_be_vip(&t->dest))
		return VERDICT_NOT_VIP;
	return contains(&dips, &t->source) ? VERDICT_BAD_TUNNEL : VERDICT_COUNT;
}

/* open_front takes a packet out of a front's tunnel. VERDICT_COUNT: it is out. */
static __always_inline enum verdict open_front(struct xdp_md *ctx, const struct packet *pkt)
{
	struct wrapped t = {};
	enum verdict verdict = judge_outer(ctx, pkt, &t);

	if (verdict == VERDICT_COUNT) {
		verdict = open_tunnel(ctx, &t);
		if (verdict == VERDICT_MALFORMED)
			verdict = VERDICT_BAD_TUNNEL;
	}
	if (verdict == VERDICT_COUNT)
		verdict = judge_inner(ctx, &t);
	if (verdict == VERDICT_COUNT && (t.summed || t.remote))
		verdict = check_sums(ctx, &t);
	if (verdict == VERDICT_COUNT)
		verdict = carry_congestion(ctx, &t);
	return verdict == VERDICT_COUNT ? unwrap(ctx, &t) : verdict;
}

#endif
