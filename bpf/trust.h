/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whom a real server takes wrapped packets from, and for which addresses. */
#ifndef LVSX_TRUST_H
#define LVSX_TRUST_H

#include "decap.h"
#include "inner.h"
#include "outer.h"

/* RFC 2003 and RFC 2473, and who may use them. */
static __always_inline enum verdict check_outer(struct xdp_md *ctx, const struct wrapped *t)
{
	if (!contains(&rips, &t->to))
		return VERDICT_NOT_OURS;
	if (t->flaw != VERDICT_UNWRAPPED)
		return t->flaw;
	if (!contains(&directors, &t->from))
		return VERDICT_UNTRUSTED;
	return is_whole(ctx, t) ? VERDICT_UNWRAPPED : VERDICT_MALFORMED;
}

/*
 * Sources that no client has, this machine's and the VIPs among them: what
 * comes from there has gone in a circle, or says so.
 */
static __always_inline bool is_martian(const union addr *from, const union addr *to)
{
	__u8 first = is_ipv4(from) ? from->bytes[12] : from->bytes[0];

	if (is_equal(from, to) || contains(&rips, from) || contains(&vips, from))
		return true;
	if (is_ipv4(from))
		return first == 0 || first == 127 || first >= 224;
	/* multicast, unspecified and loopback */
	return first == 0xff || (!from->halves[0] && !from->words[2] &&
				 (!from->words[3] || from->words[3] == bpf_htonl(1)));
}

static __always_inline enum verdict check_inner(struct xdp_md *ctx, struct wrapped *t)
{
	enum verdict verdict = read_inner(ctx, t);

	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	if (!contains(&vips, &t->dest))
		return VERDICT_NOT_VIP;
	return is_martian(&t->source, &t->dest) ? VERDICT_MARTIAN : VERDICT_UNWRAPPED;
}

#endif
