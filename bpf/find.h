/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a connection is found, from its client's side and from its real server's. */
#ifndef LVSX_FIND_H
#define LVSX_FIND_H

#include "claim.h"
#include "maps.h"
#include "packet.h"
#include "table.h"
#include "types.h"

enum direction {
	REQUEST, /* from the client to the VIP */
	REPLY,	 /* from a NAT real server to the client */
};

/* What a search found: the connection, and its life at that moment. */
struct found {
	struct conn *conn;
	__u32 location;
	__u32 life;
	__u32 dest;
};

static __always_inline struct dest *dest_of(const struct found *found)
{
	__u32 key = found->dest;

	return dest_by(key);
}

static __always_inline enum forwarding forwarding_of(const struct conn *conn)
{
	return conn->flags & CONN_FORWARDING;
}

static __always_inline __be16 real_port(enum conn_flags flags, const struct dest *dest,
					__be16 vport)
{
	return dest->port && !(flags & CONN_KEEPS_PORT) ? dest->port : vport;
}

/* All bits in which two addresses differ; one branch tests a whole key. */
static __always_inline __u64 difference(const union addr *a, const union addr *b)
{
	return (a->halves[0] ^ b->halves[0]) | (a->halves[1] ^ b->halves[1]);
}

/* Likewise of one whose family is that of another address, and so the other is IPv4's if one is. */
static __always_inline __u64 rest_difference(const union addr *a, const union addr *b)
{
	return is_ipv4(b) ? a->words[3] ^ b->words[3] : difference(a, b);
}

static __always_inline __u64 request_difference(const struct conn *conn, const struct flow *flow)
{
	return difference(&conn->cip, &flow->src) | rest_difference(&conn->vip, &flow->dst) |
	       (*(const bytes4 *)&conn->cport ^ *(const bytes4 *)&flow->port) |
	       (conn->proto ^ flow->proto);
}

static __always_inline __u64 reply_difference(const struct conn *conn, const struct flow *flow)
{
	return difference(&conn->cip, &flow->dst) | (conn->cport ^ flow->port.dest) |
	       (conn->proto ^ flow->proto) | (forwarding_of(conn) ^ FORWARDING_MASQ);
}

/* The real address stands in the destination. */
static __always_inline int is_from(const struct conn *conn, __u32 key, const struct flow *flow)
{
	struct dest *dest = dest_by(key);

	return dest && is_equal(&dest->rip, &flow->src) &&
	       real_port(conn->flags, dest, conn->vport) == flow->port.source;
}

/* is_of tells whether an entry is of the flow's connection, and not over. */
static __always_inline int is_of(const struct conn *conn, const struct flow *flow,
				 enum direction direction, __u32 now)
{
	if (direction == REQUEST ? request_difference(conn, flow) : reply_difference(conn, flow))
		return 0;
	return !is_expired(conn, now) &&
	       (direction == REQUEST || is_from(conn, READ_ONCE(conn->dest), flow));
}

/* A life as it was seen, and where: it was live. */
struct seen {
	const __u32 *at;
	__u32 life;
	__u32 location;
};

static __always_inline struct seen see_at(struct group *group, __u32 i, __u32 location)
{
	const __u32 *at = life_at(group, i);

	return (struct seen){ .at = at, .life = READ_ONCE(*at), .location = location };
}

/* see reads the life numbered i of a connection's first group. */
static __always_inline struct seen see(struct group *group, __u32 i, const struct place *place)
{
	return see_at(group, i, place->first * GROUP_CONNS + i + 1);
}

/*
 * match_conn tells whether a life, and the entry at its location, are of the flow's connection.
 * What of the life has changed since it was seen must be under none of some bits.
 */
static __always_inline int match_conn(struct conn *conn, const struct seen *seen, __u32 bits,
				      const struct flow *flow, enum direction direction, __u32 now,
				      struct found *found)
{
	if (!is_of(conn, flow, direction, now))
		return 0;
	found->location = seen->location;
	found->dest = READ_ONCE(conn->dest);
	found->life = READ_ONCE(*seen->at);
	if ((found->life ^ seen->life) & bits)
		return 0;
	found->conn = conn;
	return 1;
}

/* Who takes an entry over, or marks it dead, changes these: what was read may be another's. */
#define LIFE_IDENTITY identity_of(~0u)

static __always_inline int match(const struct seen *seen, const struct flow *flow,
				 enum direction direction, __u32 now, struct found *found)
{
	struct conn *conn = conn_at(seen->location);

	return conn && match_conn(conn, seen, LIFE_IDENTITY, flow, direction, now, found);
}

static __always_inline struct place place_of_flow(const struct flow *flow, enum direction direction)
{
	if (direction == REQUEST)
		return place_of(&flow->src, flow->port.source, flow->proto);
	return place_of(&flow->dst, flow->port.dest, flow->proto);
}

/* A search through all groups where a connection may be. */
struct hunt {
	const struct flow *flow;
	enum direction direction;
	__u32 now;
	__u32 except;	/* a location not meant, 0: none */
	__u32 location; /* what was found */
	struct place place;
	__u32 index;  /* of the group to look at */
	__u32 beyond; /* groups after the second that were looked at */
	__u64 alike;  /* its lives that are still to be looked at */
};

static __always_inline void enter_group(struct hunt *hunt, __u32 index)
{
	struct group *group = group_at(index);

	hunt->index = index;
	hunt->alike = group ? lives_of(group, &hunt->place) : 0;
}

/* Where a connection that went past a group may be: claim.h, claim_beyond(). */
static __always_inline int leads_on(const struct hunt *hunt, const struct group *group)
{
	enum passed passed = passed_from(group);

	if (hunt->index == hunt->place.first)
		return passed != PASSED_NOT;
	return passed == PASSED_WITH_KIN || (passed == PASSED_BEYOND && hunt->beyond < PATIENCE);
}

/* One life at a time: loops in loops are more than the verifier has patience for. */
static long hunt_step(__u32 turn __attribute__((unused)), struct hunt *hunt)
{
	__u32 index = hunt->index;
	__u32 location = index * GROUP_CONNS + lowest(hunt->alike) + 1;
	struct group *group;

	if (hunt->alike && location != hunt->except) {
		const struct conn *conn = conn_at(location);

		if (conn && is_of(conn, hunt->flow, hunt->direction, hunt->now)) {
			hunt->location = location;
			return 1;
		}
	}
	hunt->alike &= hunt->alike - 1;
	if (hunt->alike)
		return 0;
	group = group_at(index);
	if (!group || !leads_on(hunt, group))
		return 1;
	hunt->beyond += index != hunt->place.first;
	index = group_after(&hunt->place, index);
	if (index == NO_GROUP)
		return 1;
	enter_group(hunt, index);
	return 0;
}

/* So many lives are looked at. */
#define HUNT_STEPS (1 << 13)

/*
 * locate looks into all groups. A function of its own, so that the verifier
 * looks through it once. The connection's location, or 0.
 */
__noinline __u32 locate(const struct flow *flow, enum direction direction, __u32 now, __u32 except)
{
	struct hunt hunt = { .flow = flow, .direction = direction, .now = now, .except = except };

	if (!flow)
		return 0;
	hunt.place = place_of_flow(flow, direction);
	enter_group(&hunt, hunt.place.first);
	bpf_loop(HUNT_STEPS, hunt_step, &hunt, 0);
	return hunt.location;
}

/* fetch looks at what is at a location, if it is what the flow is of. */
static __always_inline int fetch(__u32 location, const struct flow *flow, enum direction direction,
				 __u32 now, struct found *found)
{
	struct group *group = group_at((location - 1) / GROUP_CONNS);
	struct seen seen;

	if (!group)
		return 0;
	seen = see_at(group, (location - 1) % GROUP_CONNS, location);
	return phase_of(seen.life) == PHASE_LIVE && match(&seen, flow, direction, now, found);
}

static __always_inline int find_anywhere(const struct flow *flow, enum direction direction,
					 __u32 now, struct found *found)
{
	__u32 location = locate(flow, direction, now, 0);

	return location && fetch(location, flow, direction, now, found);
}

/* More than there are in two groups: there are others to look at. */
#define ALIKE_BEYOND 32

/* How many lives have the connection's tag, where it is if it went to its second group at most. */
static __always_inline __u32 count_alike_from(const struct group *first, const struct place *place)
{
	__u32 count = count_lives(lives_of(first, place));
	const struct group *second;

	if (likely(passed_from(first) == PASSED_NOT))
		return count;
	second = group_at(second_of(place));
	if (!second || passed_from(second) >= PASSED_BEYOND)
		return ALIKE_BEYOND;
	return count + count_lives(lives_of(second, place));
}

static __always_inline __u32 count_alike(const struct place *place)
{
	const struct group *first = group_at(place->first);

	return first ? count_alike_from(first, place) : ALIKE_BEYOND;
}

/* is_past tells that a connection which is not in its first group may be beyond it. */
static __always_inline int is_past(const struct place *place)
{
	const struct group *second = group_at(second_of(place));

	return !second || passed_from(second) >= PASSED_BEYOND || lives_of(second, place);
}

static __noinline void find_beyond(const struct flow *flow, enum direction direction, __u32 now,
				   struct found *found)
{
	struct place place = place_of_flow(flow, direction);

	if (count_alike(&place))
		find_anywhere(flow, direction, now, found);
}

/* What became of a search where connections are in the first place. */
enum glance {
	GLANCE_FOUND,
	GLANCE_NOWHERE, /* there is no such connection */
	GLANCE_PASSED,	/* not in the first group, but somebody went past that */
	GLANCE_BEYOND,	/* it may be elsewhere */
};

/*
 * pick looks for a life where most connections are, and nearly all: in the first group, at their
 * favourite place there, and alone with their tag. It is to have a key, and what else is wanted.
 */
static __always_inline enum glance pick(struct group *group, const struct place *place, __u32 mask,
					__u32 want, struct seen *seen)
{
	__u64 alike = 1;

	*seen = see(group, favourite_of(place), place);
	if ((seen->life & mask) != want) {
		fetch_ahead(place); /* the CPU guesses, and is here before the group is */
		alike = lives_of(group, place);
		*seen = see(group, lowest(alike), place);
		if (unlikely(alike && (seen->life & mask) != want))
			return GLANCE_BEYOND;
	}
	if (likely(alike))
		return GLANCE_FOUND;
	return READ_ONCE(group->passed) ? GLANCE_PASSED : GLANCE_NOWHERE;
}

static __always_inline enum glance glance_in(struct group *group, const struct place *place,
					     const struct flow *flow, enum direction direction,
					     __u32 now, struct found *found)
{
	struct seen seen;
	enum glance glance = pick(group, place, LIFE_KEY_MASK, key_of(place), &seen);

	if (glance != GLANCE_FOUND)
		return glance;
	return match(&seen, flow, direction, now, found) ? GLANCE_FOUND : GLANCE_BEYOND;
}

static __always_inline enum glance glance(const struct place *place, const struct flow *flow,
					  enum direction direction, __u32 now, struct found *found)
{
	return glance_in(first_group(place), place, flow, direction, now, found);
}

static __always_inline int find_conn(const struct place *place, const struct flow *flow,
				     enum direction direction, __u32 now, struct found *found)
{
	enum glance seen = glance(place, flow, direction, now, found);

	if (seen == GLANCE_FOUND)
		return 1;
	if (seen == GLANCE_NOWHERE)
		return 0;
	find_beyond(flow, direction, now, found);
	return found->conn != NULL; /* which the verifier can follow */
}

#endif
