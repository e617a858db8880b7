/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The connection table: groups of fifteen entries. A group's lives are one
 * cache line apart from its entries, so that a search reads no entry but the
 * one it is for, and a new connection finds out that it is new without any.
 *
 * A connection is in its first group; in its second if there was no room; else
 * in one of those that follow the second. A group that somebody went past says
 * so and how far, and who searches goes on only from such: otherwise a flood,
 * which fills first groups, would make every search a long one. Ageing takes the
 * mark away.
 */
#ifndef LVSX_TABLE_H
#define LVSX_TABLE_H

#include "maps.h"
#include "types.h"

static __always_inline enum phase phase_of(__u32 life)
{
	return life & LIFE_PHASE_MASK;
}

static __always_inline enum state state_of(__u32 life)
{
	return life >> LIFE_STATE_SHIFT & LIFE_STATE_MASK;
}

static __always_inline __u32 with_state(__u32 life, enum state state)
{
	return (life & ~(LIFE_STATE_MASK << LIFE_STATE_SHIFT)) | (__u32)state << LIFE_STATE_SHIFT;
}

static __always_inline __u32 with_phase(__u32 life, enum phase phase)
{
	return (life & ~LIFE_PHASE_MASK) | phase;
}

/* What a life keeps while its connection lives: phase, tag and generation. */
static __always_inline __u32 identity_of(__u32 life)
{
	return life & ~(LIFE_STATE_MASK << LIFE_STATE_SHIFT | (__u32)LIFE_CONFIRMED);
}

static __always_inline int is_same(__u32 life, __u32 other)
{
	return identity_of(life) == identity_of(other);
}

/*
 * Where a connection may be: its first group, and bits for its tag, its favourite place and its
 * second group. The tag's are where a life has them.
 */
struct place {
	__u32 first;
	__u32 rest;
};

static __always_inline __u32 reduce(__u32 hash, __u32 count)
{
	return (__u64)hash * count >> 32;
}

#define HASH_FIRST 0x9e3779b97f4a7c15ULL
#define HASH_SECOND 0xd6e8feb86659fd93ULL

/* An IPv6 address as one word. Who does not know the seed cannot tell which are alike. */
static __always_inline __u64 hash_ipv6(const union addr *addr)
{
	__u64 hash = (addr->halves[0] ^ hash_seed[1]) * HASH_SECOND;

	hash = (hash ^ hash >> 32 ^ addr->halves[1]) * HASH_FIRST;
	return hash ^ hash >> 29;
}

/*
 * place_of hashes the client's side alone, so that both directions find it. An IPv4 address,
 * port and protocol are one word. Clients count up: what does stands low in it, from where
 * the first product carries it everywhere. The director computes the same:
 * internal/dataplane/place.go.
 */
static __always_inline struct place place_of(const union addr *client, __be16 port, __u8 proto)
{
	__u64 hash = is_ipv4(client) ? to_ipv4(client) : hash_ipv6(client);
	struct place place;

	hash ^= hash_seed[0] ^ (__u64)((__u32)proto << 16 | port) << 32;
	hash *= HASH_FIRST;
	hash ^= hash >> 32;
	hash *= HASH_SECOND;
	hash ^= hash >> 29;

	place.first = reduce(hash >> 32, group_count);
	place.rest = hash;
	return place;
}

static __always_inline __u32 tag_of(const struct place *place)
{
	return place->rest >> LIFE_TAG_SHIFT & LIFE_TAG_MASK;
}

/* The second group: another than the first. */
static __always_inline __u32 second_of(const struct place *place)
{
	__u32 index = place->first + 1 + reduce(place->rest, group_count - 1);

	return index < group_count ? index : index - group_count;
}

/*
 * The life in its first group that a connection takes if it can: known before
 * the group is read, so that a CPU fetches it and its entry at once.
 */
static __always_inline __u32 favourite_of(const struct place *place)
{
	return (place->rest >> LIFE_STATE_SHIFT & 0xff) * GROUP_CONNS >> 8;
}

/* So many groups after the second are looked at; more, if they are full of the same client's port.
 */
#define PATIENCE 16
#define PATIENCE_WITH_KIN 256

#define NO_GROUP 0xffffffff

/* The group to look at after one: the second, then those that follow it, once around. */
static __always_inline __u32 group_after(const struct place *place, __u32 index)
{
	if (index == place->first)
		return second_of(place);
	index = index + 1 < group_count ? index + 1 : 0;
	if (index == place->first)
		index = index + 1 < group_count ? index + 1 : 0;
	return index == second_of(place) ? NO_GROUP : index;
}

/*
 * All lives of a group are compared at once. Two words of two lives each make
 * four fields of 16 bits, of which the low 14 hold what is compared; bit 14
 * takes the carry of those that are not zero. Four such results fit between
 * each other, so that each life has its nibble of the outcome.
 */
#define FIELDS 0x3fff3fff3fff3fffULL
#define CARRIES 0x4000400040004000ULL
#define OUTCOMES 0x4444444444444444ULL
#define PASSED_OUTCOME (1ULL << 50)
/* The number of the life whose nibble is the lowest, then of the next one's, and so on. */
#define LIVES_BY_NIBBLE 0xc840ea62d951fb73ULL
#define NIBBLES_BY_LIFE 0x3b7f2a6e195d084cULL

/* lives_like returns a bit for each life that has the key's bits under the mask. */
static __always_inline __u64 lives_like(const struct group *group, __u32 key, __u32 mask)
{
	const __u64 *words = (const __u64 *)group;
	__u64 keys = (__u64)key << 32 | key, masks = (__u64)mask << 32 | mask, unlike = 0;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 even = (READ_ONCE(words[2 * i]) ^ keys) & masks;
		__u64 odd = (READ_ONCE(words[2 * i + 1]) ^ keys) & masks;

		unlike |= (((even | odd << 16) + FIELDS) & CARRIES) >> (4 * i);
	}
	return ~unlike & OUTCOMES;
}

static __always_inline __u64 free_lives(const struct group *group)
{
	return lives_like(group, PHASE_FREE, LIFE_PHASE_MASK) & ~PASSED_OUTCOME;
}

/* What a life of the connection has under LIFE_KEY_MASK. */
static __always_inline __u32 key_of(const struct place *place)
{
	return tag_of(place) << LIFE_TAG_SHIFT | PHASE_LIVE;
}

static __always_inline __u64 lives_of(const struct group *group, const struct place *place)
{
	return lives_like(group, key_of(place), LIFE_KEY_MASK);
}

/* Which life the lowest bit of an outcome is of. */
static __always_inline __u32 lowest(__u64 outcome)
{
	return ((outcome & -outcome) >> 2) * LIVES_BY_NIBBLE >> 60;
}

/* lowest_from is lowest(), of the nibbles from that of a life on, around their end. */
static __always_inline __u32 lowest_from(__u64 outcome, __u32 life)
{
	__u32 bits = NIBBLES_BY_LIFE << (4 * life) >> 60 << 2;
	__u64 turned = outcome >> bits | outcome << (-bits & 63);

	turned &= -turned;
	return lowest(turned << bits | turned >> (-bits & 63));
}

static __always_inline __u32 count_lives(__u64 outcome)
{
	return (outcome >> 2) * 0x1111111111111111ULL >> 60;
}

static __always_inline __u32 *life_at(struct group *group, __u32 i)
{
	/* Linux 6.1 loses the bounds if clang moves the mask elsewhere. */
	asm volatile("" : "+r"(i));
	return (__u32 *)group + (i & 15);
}

static __always_inline struct group *group_at(__u32 index)
{
	__u64 i = index;

	return is_below(&i, group_count) ? groups + i : NULL;
}

/* first_group needs no comparison: the verifier follows reduce(). */
static __always_inline struct group *first_group(const struct place *place)
{
	return groups + place->first;
}

static __always_inline struct conn *conn_at(__u32 location)
{
	__u32 key = location - 1;

	return bpf_map_lookup_elem(&conns, &key);
}

/* fetch_ahead begins to read the entry at a connection's favourite place, which it may be given. */
static __always_inline void fetch_ahead(const struct place *place)
{
	const struct conn *conn = conn_at(place->first * GROUP_CONNS + favourite_of(place) + 1);

	if (conn)
		(void)READ_ONCE(conn->cip.halves[0]);
}

/* Where the life of what is at a location is. */
static __always_inline __u32 *life_of(__u32 location)
{
	struct group *group = group_at((location - 1) / GROUP_CONNS);

	return group ? life_at(group, (location - 1) % GROUP_CONNS) : NULL;
}

static __always_inline enum passed passed_from(const struct group *group)
{
	return READ_ONCE(group->passed) >> 2 & 3;
}

/*
 * pass leaves word that somebody looks for room beyond the group. What others
 * left stays: a mark too many costs a look, one too few would lose a connection.
 */
static __always_inline void pass(struct group *group, enum passed how, __u32 now)
{
#pragma unroll
	for (int tries = 0; tries < 2; tries++) {
		__u32 old = READ_ONCE(group->passed), far = old >> 2 & 3, mark;

		if (far < how)
			far = how;
		mark = now << PASSED_SHIFT | far << 2 | PASSED_MARK;
		if (old == mark || __sync_val_compare_and_swap(&group->passed, old, mark) == old)
			return;
	}
	*(volatile __u32 *)&group->passed =
		now << PASSED_SHIFT | PASSED_WITH_KIN << 2 | PASSED_MARK;
}

#endif
