/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Under a flood the table is full, and each new connection takes the place of a half-open
 * one. A search of two groups finds the oldest (evict.h). What the last searches came to
 * spares most of the next ones theirs: if there was no room, a connection half-open in the
 * same way, and half as old as the oldest were, gives way where one is met first, unless a
 * place is free beside it. So all keep the time for a handshake that the flood leaves them.
 */
#ifndef LVSX_PRESSURE_H
#define LVSX_PRESSURE_H

#include "evict.h"
#include "table.h"
#include "types.h"

/* Of all CPUs. Who writes may undo what another wrote: the next search tells it anew. */
struct pressure {
	__u32 in_vain; /* searches in a row that found no room, at most IN_VAIN */
	__u32 kind;    /* of who gave way last: what its life has under KIND_MASK */
	__u32 age;     /* in 1 / AGE_UNITS ticks: the greatest of those who gave way, and fades */
} pressure SEC(".data.pressure");

#define KIND_MASK (LIFE_PHASE_MASK | LIFE_STATE_MASK << LIFE_STATE_SHIFT | LIFE_CONFIRMED)
#define AGE_UNITS 8

/* So many make sure that it is the table that is full, and not some groups by chance. */
#define IN_VAIN 16

static __always_inline void note_room(void)
{
	if (pressure.in_vain)
		pressure.in_vain = 0;
}

/* note_victim notes who gives way after a search in vain, if it is half-open. */
static __always_inline void note_victim(__u32 life, __u32 now)
{
	__u32 age = age_of(life, now) * AGE_UNITS, greatest = READ_ONCE(pressure.age);

	if (readiness_of(life) != READY_EMBRYONIC || age > LIFE_GENERATION_MASK / 2 * AGE_UNITS)
		return;
	if (age < greatest)
		age = greatest - (greatest - age + 7) / 8;
	pressure.age = age;
	pressure.kind = life & KIND_MASK;
	if (pressure.in_vain < IN_VAIN)
		pressure.in_vain++;
}

/* These bits of its hash are zero for one connection in 64: it searches in any case, so that
 * change is noticed. */
#define SEARCHING (0x3f << 20)

/* is_flooded tells that a connection need not search for its place. */
static __always_inline int is_flooded(const struct place *place)
{
	return READ_ONCE(pressure.in_vain) >= IN_VAIN && place->rest & SEARCHING;
}

static __always_inline int is_half_open(__u32 life)
{
	return (life & KIND_MASK) == READ_ONCE(pressure.kind);
}

/* From which age on they give way: half the greatest, and two ticks, as those are whole. */
static __always_inline __u32 age_to_yield(void)
{
	return READ_ONCE(pressure.age) / (2 * AGE_UNITS) + 2;
}

/*
 * Both lives of a word are asked at once, by bits 20 and 52. differ_in_kind has them take
 * the carry of a difference, and are_younger the sign: lives born later than at a tick, the
 * low bits of which are ones, make its difference from them negative. That borrows from the
 * other's low bits, and gets no farther unless those, too, are ones, and then it is not LIVE.
 */
#define KINDS 0x000fffff000fffffULL
#define CARRIES_OF_KINDS 0x0010000000100000ULL
#define BORN_BITS 0xfffff

static __always_inline __u64 differ_in_kind(__u64 lives, __u64 kinds)
{
	return (((lives ^ kinds) & ((__u64)KIND_MASK << 32 | KIND_MASK)) + KINDS) &
	       CARRIES_OF_KINDS;
}

static __always_inline __u64 are_younger(__u64 lives, __u64 born)
{
	return (born - lives) >> 11 & CARRIES_OF_KINDS;
}

static __always_inline __u64 twice(__u32 half)
{
	return (__u64)half << 32 | half;
}

/* born 0: of any age. */
static __always_inline __u64 unyielding(__u64 lives, __u64 kinds, __u64 born)
{
	return differ_in_kind(lives, kinds) | (born ? are_younger(lives, born) : 0);
}

/*
 * lives_born returns a bit for each life of the kind that gave way, and born then or before,
 * as lives_like() does; none if the group is not full.
 */
static __always_inline __u64 lives_born(const struct group *group, __u64 born)
{
	const __u64 *words = (const __u64 *)group;
	const __u64 kinds = twice(READ_ONCE(pressure.kind)), live = twice(PHASE_LIVE);
	__u64 unlike = 0, all = live;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 even = READ_ONCE(words[2 * i]), odd = READ_ONCE(words[2 * i + 1]);

		all &= even &
		       (odd | (i == 3 ? (__u64)PHASE_LIVE << 32 : 0)); /* the last is no life */
		even = unyielding(even, kinds, born);
		odd = unyielding(odd, kinds, born);
		unlike |= (even >> 6 | odd << 10) >> (4 * i);
		/* Else clang reads all words first, and puts them by on the stack. */
		asm volatile("" : "+r"(unlike), "+r"(all));
	}
	return all == live ? ~unlike & OUTCOMES : 0;
}

static __always_inline __u64 half_open_lives(const struct group *group)
{
	return lives_born(group, 0);
}

static __always_inline __u64 yielding_lives(const struct group *group, __u32 now)
{
	return lives_born(group,
			  twice((now - age_to_yield()) << LIFE_GENERATION_SHIFT | BORN_BITS));
}

#endif
