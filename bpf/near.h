/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lblc and lblcr keep what is asked for at one address near: a cache remembers
 * which destination served it, lblcr a set of them, and it serves on unless it
 * has too much to do while another has too little. Then, and for new addresses,
 * wlc chooses (ip_vs_lblc.c, ip_vs_lblcr.c).
 */
#ifndef LVSX_NEAR_H
#define LVSX_NEAR_H

#include "compare.h"
#include "load.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

struct search {
	struct cache_key key;
	union {
		struct comparison best;
		struct cache_entry entry; /* on its way into the cache, when best is known */
	};
	__u32 order;   /* of the best in its set */
	__u16 members; /* of the set, that are in the list */
	__u16 most;    /* 1: the best is the one with the most load */
};

static __always_inline void begin(struct search *search, const struct list *list)
{
	search->best.slot = list->first;
	search->best.end = list->first + list->count;
	search->best.scheduler = SCHEDULER_WLC;
	search->best.dest = DEST_NONE;
}

static long idle_step(__u32 i __attribute__((unused)), struct search *search)
{
	__u32 key = search->best.slot;
	const struct dest_load *load;
	struct slot *slot;

	if (key >= search->best.end)
		return 1;
	search->best.slot = key + 1;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 1;
	key = slot->dest;
	load = bpf_map_lookup_elem(&dest_loads, &key);
	if (!load || (__s64)load->active * 2 >= slot->weight)
		return 0;
	search->best.dest = key;
	return 1;
}

/* is_free tells whether a remembered destination may serve on: is_overloaded() of the kernel. */
static __always_inline int is_free(struct search *search, const struct list *list, __u32 key,
				   __u32 service)
{
	const struct dest *dest = dest_by(key);
	const struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &key);

	if (!dest || !load || dest->service != service || dest->weight <= 0)
		return 0;
	if ((dest->flags & (DEST_AVAILABLE | DEST_QUIESCED)) != DEST_AVAILABLE)
		return 0;
	if (load->active <= (__u32)dest->weight)
		return 1;
	begin(search, list);
	bpf_loop(list->count, idle_step, search, 0);
	return search->best.dest == DEST_NONE;
}

static __always_inline __u32 least_loaded(struct search *search, const struct list *list)
{
	begin(search, list);
	bpf_loop(list->count, compare_step, &search->best, 0);
	return search->best.dest;
}

/* Of equals the one that came to the set last. */
static __always_inline int is_preferred(const struct search *search, __s64 load, __s64 weight,
					__u32 order)
{
	__s64 best = search->best.load * weight, other = load * search->best.weight;

	if (search->best.dest == DEST_NONE || best == other)
		return search->best.dest == DEST_NONE || order > search->order;
	return search->most ? best < other : best > other;
}

static long member_step(__u32 i __attribute__((unused)), struct search *search)
{
	__u32 key = search->best.slot;
	const struct cache_entry *member;
	const struct dest_load *load;
	struct slot *slot;

	if (key >= search->best.end)
		return 1;
	search->best.slot = key + 1;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 1;
	key = search->key.dest = slot->dest;
	member = bpf_map_lookup_elem(&caches, &search->key);
	load = bpf_map_lookup_elem(&dest_loads, &key);
	if (!member || !load)
		return 0;
	search->members++;
	if (slot->weight <= 0 || (!search->most && is_overloaded(load)))
		return 0;
	if (is_preferred(search, overhead(load), slot->weight, member->order)) {
		search->best.dest = key;
		search->best.load = overhead(load);
		search->best.weight = slot->weight;
		search->order = member->order;
	}
	return 0;
}

static __always_inline __u32 find_member(struct search *search, const struct list *list, int most)
{
	begin(search, list);
	search->most = most;
	search->members = 0;
	bpf_loop(list->count, member_step, search, 0);
	return search->best.dest;
}

static __always_inline int remember(struct search *search, __u32 now, __u32 dest, __u32 order)
{
	search->entry.dest = dest;
	search->entry.used = search->entry.modified = now;
	search->entry.order = order;
	return !bpf_map_update_elem(&caches, &search->key, &search->entry, BPF_ANY);
}

/* look_for prepares a search for the address, in the service's list if it has destinations. */
static __always_inline const struct list *look_for(struct search *search, __u32 index,
						   const struct flow *flow)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);
	struct list *list;
	__u32 key;

	if (!service || !flow)
		return NULL;
	search->key.vip = flow->dst;
	search->key.cache = READ_ONCE(service->cursor);
	search->key.dest = DEST_NONE;
	key = READ_ONCE(service->list);
	list = bpf_map_lookup_elem(&lists, &key);
	return list && list->max_weight > 0 ? list : NULL;
}

/* choose_lblc returns a destination, or DEST_NONE. */
__noinline __u32 choose_lblc(__u32 index, const struct flow *flow, __u32 now)
{
	struct search search = {};
	const struct list *list = look_for(&search, index, flow);
	struct cache_entry *entry;
	__u32 dest;

	if (!list)
		return DEST_NONE;
	entry = bpf_map_lookup_elem(&caches, &search.key);
	if (entry) {
		entry->used = now;
		dest = READ_ONCE(entry->dest);
		if (is_free(&search, list, dest, index))
			return dest;
	}
	dest = least_loaded(&search, list);
	if (dest == DEST_NONE)
		return DEST_NONE;
	if (entry)
		entry->dest = dest;
	else
		remember(&search, now, dest, 0);
	return dest;
}

/* shrink takes the one with the most load out of a set that has not changed for long. */
static __always_inline void shrink(struct search *search, const struct list *list,
				   struct cache_entry *set, __u32 now)
{
	__u32 modified = READ_ONCE(set->modified);

	if (now - modified <= settings.lblcr_expiration)
		return;
	if (__sync_val_compare_and_swap(&set->modified, modified, now) != modified)
		return;
	search->key.dest = find_member(search, list, 1);
	if (search->members > 1 && search->key.dest != DEST_NONE)
		bpf_map_delete_elem(&caches, &search->key);
}

static __always_inline void join(struct search *search, struct cache_entry *set, __u32 dest,
				 __u32 now)
{
	search->key.dest = dest;
	if (bpf_map_lookup_elem(&caches, &search->key))
		return;
	set->modified = now;
	remember(search, now, dest, __sync_fetch_and_add(&set->order, 1) + 1);
}

/* choose_lblcr returns a destination, or DEST_NONE. */
__noinline __u32 choose_lblcr(__u32 index, const struct flow *flow, __u32 now)
{
	struct search search = {};
	const struct list *list = look_for(&search, index, flow);
	struct cache_entry *set;
	__u32 dest;

	if (!list)
		return DEST_NONE;
	set = bpf_map_lookup_elem(&caches, &search.key);
	if (set) {
		set->used = now;
		dest = find_member(&search, list, 0);
		shrink(&search, list, set, now);
		if (dest != DEST_NONE && is_free(&search, list, dest, index))
			return dest;
	}
	dest = least_loaded(&search, list);
	if (dest == DEST_NONE)
		return DEST_NONE;
	search.key.dest = DEST_NONE;
	if (!set && remember(&search, now, DEST_NONE, 0))
		set = bpf_map_lookup_elem(&caches, &search.key);
	if (set)
		join(&search, set, dest, now);
	return dest;
}

#endif
