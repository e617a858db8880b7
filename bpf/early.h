/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Fragments that come before their first, which alone tells whose they are. XDP
 * can keep no packet: the director's process does, and has it come in again once
 * the first is known (internal/dataplane/early.go).
 */
#ifndef LVSX_EARLY_H
#define LVSX_EARLY_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "credit.h"
#include "packet.h"
#include "types.h"
#include "unwrapped.h"

/* So many in a second, and at once: nobody can keep the process busy with them. */
#define EARLY_RATE 4000
#define EARLY_BURST 512

/* What fits into a page when it comes in again. */
#define EARLY_SIZE_MAX 3072

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} early_fragments SEC(".maps");

/* pass_up gives the process what is early, and the frame. */
static __noinline int pass_up(struct xdp_md *ctx, const struct early_fragment *early)
{
	return !bpf_perf_event_output(ctx, &early_fragments,
				      BPF_F_CURRENT_CPU | (__u64)early->size << 32, (void *)early,
				      sizeof(*early));
}

/*
 * keep has a fragment kept. Without a process, or if there are too many, it goes
 * on to the kernel. So does what came out of a tunnel, as far as anything does
 * (front.h: confine()): it would come in again as if from outside. A function of
 * its own for its needs of the stack.
 */
static __noinline enum verdict keep(struct xdp_md *ctx, struct packet *pkt,
				    const struct fragment_key *key)
{
	struct early_fragment early = {
		.key = *key,
		.ifindex = ctx->ingress_ifindex,
	};

	if (unlikely(settings.fronts) && is_unwrapped())
		return VERDICT_FRAGMENT;
	if (!restore_tags(ctx, pkt) || !open_frame(ctx, pkt))
		return VERDICT_NO_ROOM;
	early.size = pkt->end - (void *)pkt->eth;
	if (early.size > EARLY_SIZE_MAX ||
	    !take_credit(CREDIT_EARLY, EARLY_RATE, EARLY_BURST, pkt->moment.now))
		return VERDICT_FRAGMENT;
	return pass_up(ctx, &early) ? VERDICT_EARLY : VERDICT_FRAGMENT;
}

#endif
