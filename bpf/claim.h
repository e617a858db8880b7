/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Room for a new connection: what is free in its two groups; else what gives
 * way there; else what is free in the groups that follow; else what has
 * expired and was not yet met by ageing. Nothing in the middle of its life is
 * ever given up.
 */
#ifndef LVSX_CLAIM_H
#define LVSX_CLAIM_H

#include "control.h"
#include "evict.h"
#include "maps.h"
#include "packet.h"
#include "pressure.h"
#include "table.h"
#include "take.h"
#include "types.h"

static __always_inline int is_expired(const struct conn *conn, __u32 now)
{
	return (__s32)(READ_ONCE(conn->expires) - now) <= 0 && !is_controlling(conn);
}

/* So many of one client's port in a group, and it is not others who crowd it. */
#define CROWD 8

static __always_inline int is_crowd(const struct group *group, const struct place *place)
{
	return count_lives(lives_of(group, place)) >= CROWD;
}

/* evict takes the place of who gives way in the first two groups: its location, or 0. */
static __always_inline __u32 evict(__u32 turn, const struct place *place, __u32 now)
{
	__u32 index = turn & IN_FIRST ? place->first : second_of(place);
	struct group *group = group_at(index);
	__u32 i = turn & 15, life;

	if (!group)
		return 0;
	life = READ_ONCE(*life_at(group, i));
	/* Another CPU may have been here meanwhile. */
	if (readiness_of(life) == READY_NEVER)
		return 0;
	note_victim(life, now);
	return take(group, index, i, life, tag_of(place), now);
}

/* displace_in takes the place of who gives way without a search in a group: its location, or 0. */
static __always_inline __u32 displace_in(struct group *group, __u32 index,
					 const struct place *place, __u32 now)
{
	__u64 yielding = yielding_lives(group, now);
	__u32 i = lowest_from(yielding, favourite_of(place)), life;

	if (!yielding)
		return 0;
	life = READ_ONCE(*life_at(group, i));
	/* Another CPU may have been here meanwhile. */
	if (!is_half_open(life))
		return 0;
	return take(group, index, i, life, tag_of(place), now);
}

/* The same as a function of its own, as the next: the stack is short. */
__noinline __u32 displace(__u32 index, __u32 rest, __u32 now)
{
	const struct place place = { .first = index, .rest = rest };
	struct group *group = group_at(index);

	return group ? displace_in(group, index, &place, now) : 0;
}

/* is_for_second tells that who gives way without a search is none of a connection's first
 * group, and may be of its second. */
__noinline int is_for_second(__u32 first, __u32 now)
{
	const struct group *group = group_at(first);
	__u32 many = group ? count_lives(half_open_lives(group)) : 0;

	return many && many < PLENTY && !yielding_lives(group, now);
}

/* claim_under_flood takes a place without a search: its location, or 0. */
static __always_inline __u32 claim_under_flood(struct group *group, struct group *second,
					       const struct place *place, __u32 now)
{
	__u32 location;

	if (is_crowd(group, place) || is_crowd(second, place))
		return 0;
	if (!is_for_second(place->first, now))
		return displace(place->first, place->rest, now);
	location = displace(second_of(place), place->rest, now);
	if (location)
		pass(group, PASSED_TO_SECOND, now);
	return location;
}

/* claim_free takes a free place in the first two groups: its location, or 0. */
static __always_inline __u32 claim_free(struct group *group, struct group *second,
					const struct place *place, __u32 now)
{
	__u32 location = take_free(group, place->first, place, now);

	if (location || !free_lives(second))
		return location;
	pass(group, PASSED_TO_SECOND, now);
	return take_free(second, second_of(place), place, now);
}

/*
 * claim takes a free place in the first two groups, else that of the connection
 * which gives way there, if it is not one client's port that crowds them:
 * its location, or 0. Who goes past the first group leaves word there.
 */
static __always_inline __u32 claim(const struct place *place, __u32 now)
{
	struct group *group = group_at(place->first), *second = group_at(second_of(place));
	__u32 location, turn;

	if (!group || !second)
		return 0;
	location = is_flooded(place) ? claim_under_flood(group, second, place, now) : 0;
	if (location)
		return location;
	location = claim_free(group, second, place, now);
	if (location) {
		note_room();
		return location;
	}
	if (is_crowd(group, place) || is_crowd(second, place))
		return 0;
	turn = find_victim(place->first, place->rest, now);
	if (turn == NO_TURN)
		return 0;
	if (!(turn & IN_FIRST))
		pass(group, PASSED_TO_SECOND, now);
	return evict(turn, place, now);
}

/* A search for room in the groups that follow the second. */
struct overflow {
	struct place place;
	__u32 now;
	__u32 index;	/* of the group to look at */
	__u32 location; /* what was found */
};

static long overflow_step(__u32 turn, struct overflow *overflow)
{
	__u32 index = overflow->index;
	struct group *group = group_at(index);

	if (!group)
		return 1;
	overflow->location = take_free(group, index, &overflow->place, overflow->now);
	if (overflow->location)
		return 1;
	pass(group, turn < PATIENCE ? PASSED_BEYOND : PASSED_WITH_KIN, overflow->now);
	overflow->index = group_after(&overflow->place, index);
	return turn >= PATIENCE && count_lives(lives_of(group, &overflow->place)) < CROWD;
}

/* claim_beyond takes a free place in one of the groups that follow: its location, or 0. */
__noinline __u32 claim_beyond(const struct place *place, __u32 now)
{
	struct overflow overflow = { .now = now };
	struct group *group;

	if (!place)
		return 0;
	group = group_at(place->first);
	if (!group)
		return 0;
	pass(group, PASSED_TO_SECOND, now);
	overflow.place = *place;
	overflow.index = second_of(place);
	bpf_loop(PATIENCE_WITH_KIN, overflow_step, &overflow, 0);
	return overflow.location;
}

static __always_inline __u32 take_expired(__u32 index, __u32 tag, __u32 now)
{
	struct group *group = group_at(index);

	if (!group)
		return 0;
	for (__u32 i = 0; i < GROUP_CONNS; i++) {
		__u32 life = READ_ONCE(group->lives[i]);
		struct conn *conn = conn_at(index * GROUP_CONNS + i + 1);
		__u32 location;

		if (!conn || phase_of(life) != PHASE_LIVE || !is_expired(conn, now))
			continue;
		location = take(group, index, i, life, tag, now);
		if (location)
			return location;
	}
	return 0;
}

/* claim_expired takes the place of a connection whose time is over: its location, or 0. */
__noinline __u32 claim_expired(const struct place *place, __u32 now)
{
	__u32 location;

	if (!place)
		return 0;
	location = take_expired(place->first, tag_of(place), now);
	return location ? location : take_expired(second_of(place), tag_of(place), now);
}

/* claim_favourite takes the favourite place, if it is free: its location, or 0. */
static __always_inline __u32 claim_favourite(const struct place *place, __u32 now)
{
	struct group *group = group_at(place->first);
	__u32 i = favourite_of(place);

	if (!group || !occupy(life_at(group, i), place, now))
		return 0;
	return place->first * GROUP_CONNS + i + 1;
}

/* find_room leaves a place BUSY for a new connection: its location, or 0 if there is none. */
__noinline __u32 find_room(__u32 first, __u32 rest, __u32 now)
{
	const struct place place = { .first = first, .rest = rest };
	__u32 location = claim_favourite(&place, now);

	if (!location)
		location = claim(&place, now);
	if (!location)
		location = claim_beyond(&place, now);
	return location ? location : claim_expired(&place, now);
}

#endif
