/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lc, wlc, sed, nq, fo and ovf look at every destination and keep the one that
 * this connection would burden least. What differs is the burden.
 */
#ifndef LVSX_COMPARE_H
#define LVSX_COMPARE_H

#include "load.h"
#include "maps.h"
#include "types.h"

/* Servers looked at in one turn: a turn's call costs more than a comparison. */
#define COMPARED_AT_ONCE 4

struct comparison {
	__u32 slot;
	__u32 end;
	enum scheduler scheduler;
	__u32 dest; /* the best so far, DEST_NONE at first */
	__s64 load;
	__s64 weight;
};

/*
 * is_better tells whether a destination with that load and weight is to be
 * preferred to the best so far. Ties go to the earlier in the list, the newer.
 */
static __always_inline int is_better(const struct comparison *best, __s64 load, __s64 weight)
{
	if (best->dest == DEST_NONE)
		return 1;
	switch (best->scheduler) {
	case SCHEDULER_LC:
		return load < best->load;
	case SCHEDULER_FO:
	case SCHEDULER_OVF:
		return weight > best->weight;
	default: /* load / weight, without dividing */
		return best->load * weight > load * best->weight;
	}
}

static __always_inline long compare_one(struct comparison *best)
{
	__u32 key = best->slot;
	const struct dest_load *loads;
	struct slot *slot;
	__s64 load;

	if (key >= best->end)
		return 1;
	best->slot = key + 1;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 1;
	key = slot->dest;
	loads = bpf_map_lookup_elem(&dest_loads, &key);
	if (!loads || slot->weight <= 0 || is_overloaded(loads))
		return 0;
	load = overhead(loads);
	if (best->scheduler == SCHEDULER_SED || best->scheduler == SCHEDULER_NQ)
		load = (__s64)loads->active + 1; /* the delay that this connection would meet */
	if (best->scheduler == SCHEDULER_OVF && loads->active > (__u32)slot->weight)
		return 0;
	if (is_better(best, load, slot->weight)) {
		best->dest = key;
		best->load = load;
		best->weight = slot->weight;
	}
	if (best->scheduler == SCHEDULER_NQ && !loads->active) {
		best->dest = key; /* never queue while one is idle */
		return 1;
	}
	return 0;
}

static long compare_step(__u32 turn __attribute__((unused)), struct comparison *best)
{
#pragma unroll
	for (int i = 0; i < COMPARED_AT_ONCE; i++)
		if (compare_one(best))
			return 1;
	return 0;
}

static __always_inline __u32 compare(const struct list *list, enum scheduler scheduler)
{
	struct comparison best = {
		.slot = list->first,
		.end = list->first + list->count,
		.scheduler = scheduler,
		.dest = DEST_NONE,
	};

	bpf_loop(list->count, compare_step, &best, 0);
	return best.dest;
}

#endif
