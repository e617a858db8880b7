/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which destination a new connection goes to: exactly the choices of the
 * kernel's ip_vs_<name>.c. rr and wrr walk the service's list from where the
 * last pick was; what differs is the weight that a destination must have. The
 * others compare all destinations (compare.h), remember who served an address
 * (near.h), throw dice (twos.h) or look into a table (hash.h).
 */
#ifndef LVSX_SCHED_H
#define LVSX_SCHED_H

#include "compare.h"
#include "hash.h"
#include "load.h"
#include "maps.h"
#include "near.h"
#include "packet.h"
#include "twos.h"
#include "types.h"

struct walk {
	__u32 slot;	/* the next to look at, an index in slots */
	__u32 end;	/* one past the last */
	__s32 least;	/* weight to have at least */
	__u32 dest;	/* what was found */
	__s32 heaviest; /* of the available destinations met that weigh less */
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
	if (slot->weight < walk->least && slot->weight <= walk->heaviest)
		return 0;
	if (!is_available(slot->dest))
		return 0;
	if (slot->weight < walk->least) {
		walk->heaviest = slot->weight;
		return 0;
	}
	walk->dest = slot->dest;
	return 1;
}

/* walk_slots looks from position from to the end; the position after the pick, or 0. */
static __always_inline __u32 walk_slots(struct walk *walk, __u32 first, __u32 from, __u32 count,
					__s32 least)
{
	walk->slot = first + from;
	walk->end = first + count;
	walk->least = least;
	/* Nearly always the next one: worth not calling the helper for. */
	if (!walk_step(0, walk))
		bpf_loop(count, walk_step, walk, 0);
	return walk->dest == DEST_NONE ? 0 : walk->slot - first;
}

static __always_inline __u64 make_cursor(__u32 position, __u32 weight)
{
	return (__u64)weight << 32 | position;
}

/*
 * pick_rr makes the next choice from where cursor stands, and returns where it
 * stands then: the next with any weight, once around (ip_vs_rr_schedule()).
 */
static __always_inline __u64 pick_rr(const struct list *list, __u64 cursor, struct walk *walk)
{
	__u32 position = cursor, picked;

	if (position > list->count)
		position = 0;
	picked = walk_slots(walk, list->first, position, list->count, 1);
	if (!picked)
		picked = walk_slots(walk, list->first, 0, position, 1);
	return picked ? picked : cursor;
}

/*
 * pick_wrr looks through the rest of the list at the current weight, then
 * through the whole list at the next lower one, and so on, from the greatest
 * after the least (ip_vs_wrr_schedule()). What lies between the next lower
 * weight and that of the heaviest destination left is passed over at once.
 */
static __always_inline __u64 pick_wrr(const struct list *list, __u64 cursor, struct walk *walk)
{
	__u32 position = cursor, picked;
	__s32 weight = cursor >> 32, gcd = list->gcd;

	if (position > list->count)
		position = 0;
	if (weight > list->max_weight)
		weight = list->max_weight;
	picked = walk_slots(walk, list->first, position, list->count, weight);
	if (picked)
		return make_cursor(picked, weight);
	/* All are full: where the kernel stands then depends on where it began. */
	if (position && weight <= gcd)
		cursor = make_cursor(position, weight);
	else
		cursor = make_cursor(0, list->max_weight);

	weight -= gcd;
	if (weight <= 0)
		weight = list->max_weight;
	picked = walk_slots(walk, list->first, 0, list->count, weight);
	if (!picked && walk->heaviest > 0) {
		weight = walk->heaviest - (gcd - 1);
		picked = walk_slots(walk, list->first, 0, list->count, weight);
	}
	return picked ? make_cursor(picked, weight) : cursor;
}

/*
 * next_in_turn is choose() where rr or wrr takes the next of the list, as they mostly do.
 * DEST_NONE: choose() has to look, and nothing is changed.
 */
static __always_inline __u32 next_in_turn(struct service *service)
{
	__u64 cursor = READ_ONCE(service->cursor);
	__u32 key = READ_ONCE(service->list), position = cursor, weight = cursor >> 32;
	const struct list *list = bpf_map_lookup_elem(&lists, &key);
	const struct slot *slot;

	if (!list)
		return DEST_NONE;
	if (service->scheduler == SCHEDULER_RR)
		position = position < list->count ? position : 0;
	else if (service->scheduler != SCHEDULER_WRR || !weight || weight > (__u32)list->max_weight)
		return DEST_NONE;
	if (position >= list->count)
		return DEST_NONE;
	key = list->first + position;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot || slot->weight <= 0 || (__u32)slot->weight < weight || !is_available(slot->dest))
		return DEST_NONE;
	key = slot->dest;
	if (__sync_val_compare_and_swap(&service->cursor, cursor,
					make_cursor(position + 1, weight)) != cursor)
		return DEST_NONE;
	return key;
}

/* choose returns the next by the list and its destinations' loads, or DEST_NONE. */
__noinline __u32 choose(__u32 index)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);
	struct walk walk;
	struct list *list;
	__u32 key;

	if (!service)
		return DEST_NONE;
	key = READ_ONCE(service->list);
	list = bpf_map_lookup_elem(&lists, &key);
	if (!list || list->max_weight <= 0 || service->scheduler == SCHEDULER_NONE)
		return DEST_NONE;

	if (service->scheduler > SCHEDULER_WRR)
		return compare(list, service->scheduler);

	/* Unrolled: Linux 6.1 refuses a loop around the calls inside. */
#pragma unroll
	for (int tries = 0; tries < 3; tries++) {
		__u64 cursor = READ_ONCE(service->cursor), next;

		walk.dest = DEST_NONE;
		walk.heaviest = 0;
		next = service->scheduler == SCHEDULER_WRR ? pick_wrr(list, cursor, &walk)
							   : pick_rr(list, cursor, &walk);
		/* Lost to another CPU: choose again, but not for ever. */
		if (__sync_val_compare_and_swap(&service->cursor, cursor, next) == cursor)
			break;
	}
	return walk.dest;
}

/* look_up_again is for whom two changes in a row took the list away that it had just found. */
static __always_inline __u32 look_up_again(const struct service *service, __u32 index,
					   const struct flow *flow)
{
	return is_hashing(READ_ONCE(service->scheduler)) ? look_up(index, flow) : choose(index);
}

/* schedule returns the destination for a new connection, or DEST_NONE. */
static __always_inline __u32 schedule(__u32 index, const struct flow *flow, struct moment *moment)
{
	const struct service *service = bpf_map_lookup_elem(&services, &index);
	__u32 dest;

	if (!service)
		return DEST_NONE;
	switch (READ_ONCE(service->scheduler)) {
	case SCHEDULER_DH:
	case SCHEDULER_SH:
	case SCHEDULER_MH:
		dest = look_up(index, flow);
		return dest != DEST_NONE ? dest : look_up_again(service, index, flow);
	case SCHEDULER_TWOS:
		return draw(index, moment);
	case SCHEDULER_LBLC:
		return choose_lblc(index, flow, moment->now);
	case SCHEDULER_LBLCR:
		return choose_lblcr(index, flow, moment->now);
	default:
		return choose(index);
	}
}

#endif
