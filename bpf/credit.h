/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What may be done only so often (net/ipv4/icmp.c: icmp_global_allow()). */
#ifndef LVSX_CREDIT_H
#define LVSX_CREDIT_H

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "types.h"

/* What may be done in the time that passed, as far as a burst goes. */
static __always_inline void refill(struct credit *credit, __u32 rate, __s64 burst, __u32 now)
{
	__u32 filled = READ_ONCE(credit->filled), ticks = now - filled, second = settings.second;
	__s64 left = READ_ONCE(credit->left);
	__u64 more;

	if (ticks > second)
		ticks = second;
	more = second ? (__u64)ticks * rate / second : 0;
	if (!more || __sync_val_compare_and_swap(&credit->filled, filled, now) != filled)
		return;
	left += more;
	credit->left = left < burst ? left : burst;
}

/* take_credit takes one of what may be done so often in a second, and so often at once. */
__noinline int take_credit(enum credit_use use, __u32 rate, __u32 burst, __u32 now)
{
	__u32 key = use;
	struct credit *credit = bpf_map_lookup_elem(&credits, &key);

	if (!credit)
		return 1;
	refill(credit, rate, burst, now);
	return READ_ONCE(credit->left) > 0 && __sync_fetch_and_add(&credit->left, -1) > 0;
}

#endif
