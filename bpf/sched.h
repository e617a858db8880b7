/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which destination a new connection goes to: exactly the choices of the
 * kernel's ip_vs_rr.c and ip_vs_wrr.c. Both walk the service's list from where
 * the last pick was; what differs is the weight that a destination must have.
 */
#ifndef LVSX_SCHED_H
#define LVSX_SCHED_H

#include "maps.h"
#include "types.h"

#define DEST_NONE 0xffffffff

struct walk {
	__u32 slot;	 /* the next to look at, an index in slots */
	__u32 end;	 /* one past the last */
	__s32 threshold; /* weight to have at least */
	__u32 dest;	 /* what was found */
};

static long walk_step(__u32 i __attribute__((unused)), struct walk *walk)
{
	__u32 key = walk->slot;
	struct slot *slot;

	if (key >= walk->end)
		return 1;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 1;
	walk->slot = key + 1;
	if (slot->weight < walk->threshold)
		return 0;
	walk->dest = slot->dest;
	return 1;
}

/* walk_slots looks from position from to the end; the position after the pick, or 0. */
static __always_inline __u32 walk_slots(struct walk *walk, __u32 first, __u32 from, __u32 count,
					__s32 threshold)
{
	walk->slot = first + from;
	walk->end = first + count;
	walk->threshold = threshold;
	/* Nearly always the next one: worth not calling the helper for. */
	if (!walk_step(0, walk))
		bpf_loop(count, walk_step, walk, 0);
	return walk->dest == DEST_NONE ? 0 : walk->slot - first;
}

static __always_inline __u64 make_cursor(__u32 position, __u32 weight)
{
	return (__u64)weight << 32 | position;
}

/* ip_vs_rr_schedule(): the next with any weight, once around. */
static __always_inline __u64 next_rr(const struct list *list, __u64 cursor, struct walk *walk)
{
	__u32 position = cursor, picked;

	if (position > list->count)
		position = 0;
	picked = walk_slots(walk, list->first, position, list->count, 1);
	if (!picked)
		picked = walk_slots(walk, list->first, 0, position, 1);
	return make_cursor(picked, 0);
}

/*
 * ip_vs_wrr_schedule(): the rest of the list at the current weight, then the
 * whole list at the next lower one. Some destination always has the weight
 * asked for, since none is passed over for another reason.
 */
static __always_inline __u64 next_wrr(const struct list *list, __u64 cursor, struct walk *walk)
{
	__u32 position = cursor, picked;
	__s32 weight = cursor >> 32;

	if (position > list->count)
		position = 0;
	if (weight > list->max_weight)
		weight = list->max_weight;
	picked = walk_slots(walk, list->first, position, list->count, weight);
	if (!picked) {
		weight -= list->gcd;
		if (weight <= 0)
			weight = list->max_weight;
		picked = walk_slots(walk, list->first, 0, list->count, weight);
	}
	return make_cursor(picked, weight);
}

/* schedule returns the destination for a new connection, or DEST_NONE. */
__noinline __u32 schedule(__u32 index)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);
	struct list *list;
	__u32 key;

	if (!service)
		return DEST_NONE;
	key = READ_ONCE(service->list);
	list = bpf_map_lookup_elem(&lists, &key);
	if (!list || list->max_weight <= 0)
		return DEST_NONE;

	for (int tries = 0; tries < 4; tries++) {
		struct walk walk = { .dest = DEST_NONE };
		__u64 cursor = READ_ONCE(service->cursor), next;

		switch (service->scheduler) {
		case SCHEDULER_RR:
			next = next_rr(list, cursor, &walk);
			break;
		case SCHEDULER_WRR:
			next = next_wrr(list, cursor, &walk);
			break;
		default:
			return DEST_NONE;
		}
		if (walk.dest == DEST_NONE)
			return DEST_NONE;
		/* Lost to another CPU: choose again, but not for ever. */
		if (__sync_val_compare_and_swap(&service->cursor, cursor, next) == cursor ||
		    tries == 3)
			return walk.dest;
	}
	return DEST_NONE;
}

#endif
