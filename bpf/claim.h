/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Room for a new connection: what is free in its two groups; else what is worth
 * least there; else what is free in the groups that follow; else what has
 * expired and was not yet met by ageing. Nothing in the middle of its life is
 * ever given up.
 */
#ifndef LVSX_CLAIM_H
#define LVSX_CLAIM_H

#include "control.h"
#include "load.h"
#include "maps.h"
#include "packet.h"
#include "table.h"
#include "tcp.h"
#include "types.h"

static __always_inline int is_expired(const struct conn *conn, __u32 now)
{
	return (__s32)(READ_ONCE(conn->expires) - now) <= 0 && !is_controlling(conn);
}

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

static __always_inline __u32 age_of(__u32 life, __u32 now)
{
	return (now - (life >> LIFE_GENERATION_SHIFT)) & LIFE_GENERATION_MASK;
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

/* take_free takes a free place of a group: its location, or 0. */
static __always_inline __u32 take_free(struct group *group, __u32 index, const struct place *place,
				       __u32 now)
{
	/* Others may be quicker, but not for ever. */
#pragma unroll
	for (int tries = 0; tries < 2; tries++) {
		__u64 free = free_lives(group);
		__u32 i = lowest_from(free, favourite_of(place)), life;

		if (!free)
			return 0;
		life = READ_ONCE(*life_at(group, i));
		if (phase_of(life) == PHASE_FREE &&
		    __sync_val_compare_and_swap(life_at(group, i), life,
						next_life(life, tag_of(place), now)) == life)
			return index * GROUP_CONNS + i + 1;
	}
	return 0;
}

/* States, and for UDP whether it is confirmed, as bits: what a connection may give way in. */
#define LIFE_STATE_BITS(life) ((life) >> LIFE_STATE_SHIFT & (LIFE_STATE_MASK * 2 + 1))
#define EMBRYONIC                                                                                  \
	(1ULL << STATE_LISTEN | 1ULL << STATE_SYN_RECV | 1ULL << STATE_SYNACK |                    \
	 1ULL << STATE_UDP | 1ULL << STATE_SCTP_INIT1 | 1ULL << STATE_SCTP_INIT)
/* No state is that of a template, too. */
#define CLOSED                                                                                     \
	(1ULL << STATE_NONE | 1ULL << STATE_TIME_WAIT | 1ULL << STATE_CLOSE |                      \
	 1ULL << STATE_LAST_ACK | 1ULL << STATE_KILLED | 1ULL << STATE_SCTP_REJECTED |             \
	 1ULL << STATE_SCTP_CLOSED)

/*
 * worth says how much a connection is worth keeping, the oldest of a kind
 * least: 0 dead, 1 embryonic, 2 closed or a template that no server answered to, 3 in the middle of
 * its life or just being entered, each above 12 bits of youth. No branch: the verifier would follow
 * every way through thirty of them.
 */
#define WORTH_SHIFT 12
#define WORTH_KEEPING (3 << WORTH_SHIFT)

static __always_inline __u32 worth(__u32 life, __u32 now)
{
	__u32 youth = LIFE_GENERATION_MASK - age_of(life, now);
	__u32 bit = LIFE_STATE_BITS(life), phase = phase_of(life);
	__u32 rank = 3 - 2 * (EMBRYONIC >> bit & 1) - (CLOSED >> bit & 1);

	rank |= (phase >> 1) - 1;	  /* not live and not dead */
	rank &= (phase & phase >> 1) - 1; /* dead */
	return (rank & 3) << WORTH_SHIFT | youth;
}

/*
 * least_of returns the least worth in a group, above whose it is and which, if
 * that is below best. No branch, that the CPU would guess wrong.
 */
static __always_inline __u64 least_of(struct group *group, __u32 which, __u32 now, __u64 best)
{
	for (__u32 i = 0; i < GROUP_CONNS; i++) {
		__u64 mine = worth(READ_ONCE(group->lives[i]), now) << 5 | which << 4 | i;
		__s64 less = mine - best;

		best += less & less >> 63;
	}
	return best;
}

/* least returns the least worth in two groups, above five bits of whose it is: the first's if
 * equal. */
__noinline __u32 least(__u32 first, __u32 second, __u32 now)
{
	struct group *one = group_at(first), *other = group_at(second);
	__u64 best = WORTH_KEEPING << 5;

	if (!one || !other)
		return best;
	return least_of(other, 1, now, least_of(one, 0, now, best));
}

/* So many of one client's port in a group, and it is not others who crowd it. */
#define CROWD 8

static __always_inline int is_crowd(const struct group *group, const struct place *place)
{
	return count_lives(lives_of(group, place)) >= CROWD;
}

/* take_least takes the place of the connection that is worth least in the first two groups. */
static __always_inline __u32 take_least(const struct place *place, __u32 now)
{
	__u32 best = least(place->first, second_of(place), now), life, i = best & 15;
	__u32 index = best & 16 ? second_of(place) : place->first;
	struct group *group = group_at(index);

	if (!group)
		return 0;
	life = READ_ONCE(*life_at(group, i));
	return worth(life, now) < WORTH_KEEPING ? take(group, index, i, life, tag_of(place), now)
						: 0;
}

/*
 * claim takes a free place in the first two groups, else that of the connection
 * which is worth least there, if it is not one client's port that crowds them:
 * its location, or 0.
 */
__noinline __u32 claim(const struct flow *flow, __u32 now)
{
	struct group *group, *second;
	struct place place;
	__u32 location;

	if (!flow)
		return 0;
	place = place_of(&flow->src, flow->port.source, flow->proto);
	group = group_at(place.first);
	if (!group)
		return 0;
	location = take_free(group, place.first, &place, now);
	if (location)
		return location;
	pass(group, PASSED_TO_SECOND, now);
	second = group_at(second_of(&place));
	if (!second)
		return 0;
	location = take_free(second, second_of(&place), &place, now);
	if (location || is_crowd(group, &place) || is_crowd(second, &place))
		return location;
	return take_least(&place, now);
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
__noinline __u32 claim_beyond(const struct flow *flow, __u32 now)
{
	struct overflow overflow = { .now = now };

	if (!flow)
		return 0;
	overflow.place = place_of(&flow->src, flow->port.source, flow->proto);
	overflow.index = second_of(&overflow.place);
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
__noinline __u32 claim_expired(const struct flow *flow, __u32 now)
{
	struct place place;
	__u32 location;

	if (!flow)
		return 0;
	place = place_of(&flow->src, flow->port.source, flow->proto);
	location = take_expired(place.first, tag_of(&place), now);
	return location ? location : take_expired(second_of(&place), tag_of(&place), now);
}

/* find_room leaves a place BUSY for a new connection: its location, or 0 if there is none. */
static __always_inline __u32 find_room(const struct flow *flow, __u32 now)
{
	__u32 location = claim(flow, now);

	if (!location)
		location = claim_beyond(flow, now);
	return location ? location : claim_expired(flow, now);
}

#endif
