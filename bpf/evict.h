/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which connection gives way when the groups of a new one are full. Nothing in
 * the middle of its life ever does.
 */
#ifndef LVSX_EVICT_H
#define LVSX_EVICT_H

#include "table.h"
#include "types.h"

enum readiness {
	READY_NEVER,	 /* in the middle of its life, or just being entered */
	READY_CLOSED,	 /* closed, or a template that no server answered to */
	READY_EMBRYONIC, /* half-open; of UDP: whose only packet was one */
	READY_DEAD,
};

/* Phase, whether it is confirmed (which states below are not) and state, as one number. */
#define KIND_STATE_BITS 6
#define KIND_STATE_MASK ((1 << KIND_STATE_BITS) - 1)
#define LIVE(state) (PHASE_LIVE << KIND_STATE_BITS | (state))
#define DEAD(state) (PHASE_DEAD << KIND_STATE_BITS | (state))

/* A table, and no branches: the verifier would follow every way through fifteen lives. */
static const __u8 readiness[1 << (KIND_STATE_BITS + 2)] = {
	[LIVE(STATE_LISTEN)] = READY_EMBRYONIC,	    [LIVE(STATE_SYN_RECV)] = READY_EMBRYONIC,
	[LIVE(STATE_SYNACK)] = READY_EMBRYONIC,	    [LIVE(STATE_UDP)] = READY_EMBRYONIC,
	[LIVE(STATE_SCTP_INIT1)] = READY_EMBRYONIC, [LIVE(STATE_SCTP_INIT)] = READY_EMBRYONIC,
	[LIVE(STATE_NONE)] = READY_CLOSED,	    [LIVE(STATE_TIME_WAIT)] = READY_CLOSED,
	[LIVE(STATE_CLOSE)] = READY_CLOSED,	    [LIVE(STATE_LAST_ACK)] = READY_CLOSED,
	[LIVE(STATE_KILLED)] = READY_CLOSED,	    [LIVE(STATE_SCTP_REJECTED)] = READY_CLOSED,
	[LIVE(STATE_SCTP_CLOSED)] = READY_CLOSED,   [DEAD(0)... DEAD(KIND_STATE_MASK)] = READY_DEAD,
};

static __always_inline enum readiness readiness_of(__u32 life)
{
	__u32 kind = life >> LIFE_STATE_SHIFT & KIND_STATE_MASK;

	kind |= phase_of(life) << KIND_STATE_BITS;
	/* Linux 6.1 loses the bounds of what is or-ed. */
	asm volatile("" : "+r"(kind));
	return readiness[kind & (sizeof(readiness) - 1)];
}

/* The generation is when the place was taken, in ticks: how old its connection is. */
static __always_inline __u32 age_of(__u32 life, __u32 now)
{
	return (now - (life >> LIFE_GENERATION_SHIFT)) & LIFE_GENERATION_MASK;
}

/*
 * Whose turn it is to give way, as one number, the greatest first: readiness, age, whether
 * it is in the first group, and which life of its group.
 */
#define IN_FIRST 16
#define TURN_AGE_SHIFT 5
#define TURN_READINESS_SHIFT 17
#define NO_TURN 0 /* of no life: there is none to be looked at */

static __always_inline __u32 turn_of(__u32 life, __u32 number, __u32 now)
{
	return readiness_of(life) << TURN_READINESS_SHIFT | age_of(life, now) << TURN_AGE_SHIFT |
	       number;
}

/* Who gives way in a group. */
struct victim {
	__u32 turn;
	__u32 many; /* how many are embryonic or dead */
};

/* No branch, that the CPU would guess wrong. */
static __always_inline struct victim least_of(const struct group *group, __u32 first, __u32 now)
{
	struct victim victim = {};

#pragma unroll
	for (__u32 i = 0; i < GROUP_CONNS; i++) {
		__s64 mine = turn_of(READ_ONCE(group->lives[i]), first | i, now);
		__s64 less = (__s64)victim.turn - mine;

		victim.turn -= less & less >> 63;
		victim.many += mine >> (TURN_READINESS_SHIFT + 1);
	}
	return victim;
}

/*
 * So many of a group are embryonic, and one of them gives way, whatever is in the second
 * group: among so many even a flood leaves each the time for a handshake. With fewer the
 * second's are compared, too.
 */
#define PLENTY 12

/*
 * prefer_favourite has the life at a connection's favourite place give way, whose entry
 * has been fetched ahead, if it is of the same kind as the oldest and half its age.
 */
static __always_inline __u32 prefer_favourite(__u32 turn, struct group *group,
					      const struct place *place, __u32 now)
{
	__u32 i = favourite_of(place), life = READ_ONCE(*life_at(group, i));
	__u32 oldest = turn >> TURN_AGE_SHIFT & LIFE_GENERATION_MASK;

	if (readiness_of(life) != turn >> TURN_READINESS_SHIFT || 2 * age_of(life, now) < oldest)
		return turn;
	return turn_of(life, IN_FIRST | i, now);
}

/*
 * find_victim returns whose turn it is in a connection's first two groups. A function of its
 * own, so that the verifier looks through them once.
 */
__noinline __u32 find_victim(__u32 first, __u32 rest, __u32 now)
{
	const struct place place = { .first = first, .rest = rest };
	struct group *group = group_at(first), *second = group_at(second_of(&place));
	struct victim one, other;

	if (!group || !second)
		return NO_TURN;
	one = least_of(group, IN_FIRST, now);
	if (one.many >= PLENTY)
		return prefer_favourite(one.turn, group, &place, now);
	other = least_of(second, 0, now);
	return one.turn > other.turn ? one.turn : other.turn;
}

#endif
