/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a place in a group is taken: a free one, or from what lives there. */
#ifndef LVSX_TAKE_H
#define LVSX_TAKE_H

#include "control.h"
#include "load.h"
#include "maps.h"
#include "table.h"
#include "tcp.h"
#include "types.h"

/*
 * The generation is when the place was taken, in ticks: it tells the age of
 * those that must give way. It differs from the last one's in any case.
 */
static __always_inline __u32 next_life(__u32 life, __u32 tag, __u32 now)
{
	__u32 generation = now & LIFE_GENERATION_MASK;

	if (generation == life >> LIFE_GENERATION_SHIFT)
		generation++;
	return generation << LIFE_GENERATION_SHIFT | tag << LIFE_TAG_SHIFT | PHASE_BUSY;
}

/* take makes a life BUSY, if it is still what was seen, and ends what lived there. */
static __always_inline __u32 take(struct group *group, __u32 index, __u32 i, __u32 seen, __u32 tag,
				  __u32 now)
{
	__u32 location = index * GROUP_CONNS + i + 1, busy = next_life(seen, tag, now);
	struct remains gone;
	struct conn *conn;

	if (__sync_val_compare_and_swap(life_at(group, i), seen, busy) != seen)
		return 0;
	if (phase_of(seen) != PHASE_LIVE)
		return location;
	conn = conn_at(location);
	if (!conn)
		return 0;
	if (is_controlling(conn)) { /* it stays */
		__sync_val_compare_and_swap(life_at(group, i), busy, seen);
		return 0;
	}
	gone = remains_of(conn);
	account_gone(&gone, is_active(state_of(seen)), now);
	return location;
}

/* occupy makes a free life BUSY; 0: it is not free, or another CPU was quicker. */
static __always_inline int occupy(__u32 *at, const struct place *place, __u32 now)
{
	__u32 life = READ_ONCE(*at);

	return phase_of(life) == PHASE_FREE &&
	       __sync_val_compare_and_swap(at, life, next_life(life, tag_of(place), now)) == life;
}

/* take_free takes a free place of a group: its location, or 0. */
static __always_inline __u32 take_free(struct group *group, __u32 index, const struct place *place,
				       __u32 now)
{
	/* Others may be quicker, but not for ever. */
#pragma unroll
	for (int tries = 0; tries < 2; tries++) {
		__u64 free = free_lives(group);
		__u32 i = lowest_from(free, favourite_of(place));

		if (!free)
			return 0;
		if (occupy(life_at(group, i), place, now))
			return index * GROUP_CONNS + i + 1;
	}
	return 0;
}

#endif
