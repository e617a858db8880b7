/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * twos draws two destinations by weight and takes the one with less load
 * (ip_vs_twos.c: ip_vs_twos_schedule()).
 */
#ifndef LVSX_TWOS_H
#define LVSX_TWOS_H

#include "load.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

struct drawing {
	__u32 slot;
	__u32 end;
	__s64 weights; /* of all that are available */
	__s64 left[2]; /* weight to pass by until a destination is drawn */
	__u32 dest[2];
	__s64 load[2];
	__s64 weight[2]; /* 0: not drawn yet */
};

/* The next slot's destination and its load, NULL if it takes no new connections. */
static __always_inline const struct dest_load *next_load(struct drawing *d, struct slot **slot)
{
	const struct dest_load *load;
	__u32 key = d->slot++;

	*slot = bpf_map_lookup_elem(&slots, &key);
	if (!*slot || (*slot)->weight <= 0)
		return NULL;
	key = (*slot)->dest;
	load = bpf_map_lookup_elem(&dest_loads, &key);
	return load && !is_overloaded(load) ? load : NULL;
}

static long sum_step(__u32 i __attribute__((unused)), struct drawing *d)
{
	struct slot *slot;

	if (next_load(d, &slot) && slot) {
		d->weights += slot->weight;
		d->dest[0] = slot->dest;
	}
	return d->slot >= d->end;
}

static __always_inline void draw_one(struct drawing *d, int which, const struct slot *slot,
				     const struct dest_load *load)
{
	d->left[which] -= slot->weight;
	if (d->left[which] > 0 || d->weight[which])
		return;
	d->dest[which] = slot->dest;
	d->load[which] = overhead(load);
	d->weight[which] = slot->weight;
}

static long draw_step(__u32 i __attribute__((unused)), struct drawing *d)
{
	const struct dest_load *load;
	struct slot *slot;

	load = next_load(d, &slot);
	if (load && slot) {
		draw_one(d, 0, slot, load);
		draw_one(d, 1, slot, load);
	}
	return d->slot >= d->end || (d->weight[0] && d->weight[1]);
}

/* throw returns a number from 0 to limit, both included. */
static __always_inline __s64 throw(struct moment * moment, __s64 limit)
{
	__u64 sides = limit < 0xffffffff ? limit + 1 : 0xffffffff;

	return roll(moment) * sides >> 32;
}

/* draw returns a destination, or DEST_NONE. */
__noinline __u32 draw(__u32 index, struct moment *moment)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);
	struct drawing d = { .dest = { DEST_NONE } };
	struct list *list;
	__u32 key;

	if (!service || !moment)
		return DEST_NONE;
	key = READ_ONCE(service->list);
	list = bpf_map_lookup_elem(&lists, &key);
	if (!list || list->max_weight <= 0)
		return DEST_NONE;
	d.slot = list->first;
	d.end = list->first + list->count;
	bpf_loop(list->count, sum_step, &d, 0);
	if (d.dest[0] == DEST_NONE)
		return DEST_NONE;
	d.left[0] = throw(moment, d.weights);
	d.left[1] = throw(moment, d.weights);
	d.slot = list->first;
	bpf_loop(list->count, draw_step, &d, 0);
	if (d.weight[1] && d.weight[1] * d.load[0] > d.weight[0] * d.load[1])
		return d.dest[1];
	return d.dest[0];
}

#endif
