/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The connection table: buckets of eight entries, two buckets a connection
 * may be in, no locks. An entry is claimed by compare-and-swap, written, then
 * published. See types.h for an entry's life.
 */
#ifndef LVSX_CONN_H
#define LVSX_CONN_H

#include "control.h"
#include "load.h"
#include "maps.h"
#include "packet.h"
#include "tcp.h"
#include "types.h"

static __always_inline enum phase phase_of(__u32 life)
{
	return life & ((1 << LIFE_STATE_SHIFT) - 1);
}

static __always_inline enum state state_of(__u32 life)
{
	return life >> LIFE_STATE_SHIFT & LIFE_STATE_MASK;
}

static __always_inline __u32 make_life(__u32 generation, enum state state, enum phase phase)
{
	return generation << LIFE_GENERATION_SHIFT | (__u32)state << LIFE_STATE_SHIFT | phase;
}

static __always_inline __u32 generation_of(__u32 life)
{
	return life >> LIFE_GENERATION_SHIFT;
}

/* Where a connection may be: two buckets, and the entry in them to look at first. */
struct place {
	__u32 buckets[2];
	__u32 home;
};

static __always_inline __u32 reduce(__u32 hash)
{
	return (__u64)hash * bucket_count >> 32;
}

/* place_of hashes the client's side alone, so that both directions find it. */
static __always_inline struct place place_of(const union addr *client, __be16 port, __u8 proto)
{
	const __u64 multiplier = 0x9e3779b97f4a7c15ULL;
	__u64 hash = client->halves[0] ^ hash_seed[0];
	struct place place;

	hash *= multiplier;
	hash ^= hash >> 32;
	hash ^= client->halves[1];
	hash *= multiplier;
	hash ^= hash >> 29;
	hash ^= hash_seed[1] ^ ((__u64)proto << 16 | port);
	hash *= multiplier;
	hash ^= hash >> 32;
	/* Clients count up: without this they crowd some buckets. */
	hash *= multiplier;
	hash ^= hash >> 29;

	place.home = hash & (BUCKET_CONNS - 1);
	place.buckets[0] = reduce(hash >> 32);
	place.buckets[1] = reduce((hash * multiplier) >> 32);
	return place;
}

/* The entry to look at in turn i. */
static __always_inline __u32 neighbour(const struct place *place, __u32 i)
{
	__u32 slot = place->home ^ i;

	/* Linux 6.1 loses the bounds if clang moves the exclusive or behind the mask. */
	asm volatile("" : "+r"(slot));
	return slot & (BUCKET_CONNS - 1);
}

static __always_inline int is_expired(const struct conn *conn, __u32 now)
{
	return (__s32)(READ_ONCE(conn->expires) - now) <= 0 && !is_controlling(conn);
}

enum direction {
	REQUEST, /* from the client to the VIP */
	REPLY,	 /* from a NAT real server to the client */
};

/* What a search found: the entry, and its life at that moment. */
struct found {
	struct conn *conn;
	__u32 life;
	__u32 dest;
};

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

static __always_inline __u64 request_difference(const struct conn *conn, const struct flow *flow)
{
	return difference(&conn->cip, &flow->src) | difference(&conn->vip, &flow->dst) |
	       (conn->cport ^ flow->port.source) | (conn->vport ^ flow->port.dest) |
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
	struct dest *dest = bpf_map_lookup_elem(&dests, &key);

	return dest && is_equal(&dest->rip, &flow->src) &&
	       real_port(conn->flags, dest, conn->vport) == flow->port.source;
}

static __always_inline int match(struct conn *conn, const struct flow *flow,
				 enum direction direction, __u32 now, struct found *found)
{
	__u32 life = READ_ONCE(conn->life), dest;
	__u64 different = direction == REQUEST ? request_difference(conn, flow)
					       : reply_difference(conn, flow);

	if ((different | (phase_of(life) ^ PHASE_LIVE)))
		return 0;
	dest = READ_ONCE(conn->dest);
	if (is_expired(conn, now) || (direction == REPLY && !is_from(conn, dest, flow)))
		return 0;
	found->conn = conn;
	found->dest = dest;
	found->life = READ_ONCE(conn->life);
	/* Taken over or marked dead while it was read: what was read may be another's. */
	return generation_of(found->life) == generation_of(life) &&
	       phase_of(found->life) == PHASE_LIVE;
}

static __always_inline struct place place_of_flow(const struct flow *flow, enum direction direction)
{
	if (direction == REQUEST)
		return place_of(&flow->src, flow->port.source, flow->proto);
	return place_of(&flow->dst, flow->port.dest, flow->proto);
}

/*
 * locate looks into both buckets. A function of its own, so that the verifier
 * looks through it once. 0: nothing found, else the entry's number in the
 * table plus one.
 */
__noinline __u64 locate(const struct flow *flow, enum direction direction, __u32 now)
{
	struct found found = {};
	struct place place;

	if (!flow)
		return 0;
	place = place_of_flow(flow, direction);
	for (__u32 b = 0; b < 2; b++) {
		__u32 index = b ? place.buckets[1] : place.buckets[0];
		struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);

		if (!bucket)
			return 0;
		for (__u32 i = 0; i < BUCKET_CONNS; i++) {
			__u32 slot = neighbour(&place, i);

			if (match(&bucket->conns[slot], flow, direction, now, &found))
				return (__u64)index * BUCKET_CONNS + slot + 1;
		}
	}
	return 0;
}

static __always_inline int find_anywhere(const struct flow *flow, enum direction direction,
					 __u32 now, struct found *found)
{
	__u64 location = locate(flow, direction, now);
	struct conn *conn;

	if (!location)
		return 0;
	conn = conn_at(location);
	return conn && match(conn, flow, direction, now, found);
}

/* find_conn looks first where nearly every connection is: at home in the first bucket. */
static __always_inline int find_conn(const struct place *place, const struct flow *flow,
				     enum direction direction, __u32 now, struct found *found)
{
	__u32 index = place->buckets[0];
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);

	if (bucket &&
	    match(&bucket->conns[place->home % BUCKET_CONNS], flow, direction, now, found))
		return 1;
	return find_anywhere(flow, direction, now, found);
}

/* end takes a connection out of the table and out of its destination's count. */
static __always_inline void end(const struct found *found, __u32 now)
{
	struct remains gone = remains_of(found->conn);
	__u32 life = READ_ONCE(found->conn->life);
	__u32 dead = make_life(generation_of(life), STATE_NONE, PHASE_DEAD);

	if (phase_of(life) != PHASE_LIVE || generation_of(life) != generation_of(found->life) ||
	    is_controlling(found->conn))
		return;
	if (__sync_val_compare_and_swap(&found->conn->life, life, dead) == life)
		account_gone(&gone, is_active(state_of(life)), now);
}

/*
 * is_assuring tells whether a connection's template learns now that a server
 * answered: TCP is established (once), UDP's server was heard.
 */
static __always_inline int is_assuring(const struct conn *conn, enum state state, enum half half)
{
	if (conn->proto != IPPROTO_TCP)
		return half == HALF_OUTPUT;
	return state == STATE_ESTABLISHED && !(conn->flags & CONN_CONFIRMED);
}

/* count_request counts up to as many packets as drop_entry minds. */
static __always_inline void count_request(struct conn *conn)
{
	if ((conn->flags & CONN_PACKETS) != CONN_PACKETS)
		conn->flags += 1 << CONN_PACKETS_SHIFT;
}

/*
 * step moves the connection to its next state and restarts its timer. Only
 * whoever exchanges the state changes the destination's count.
 */
static __always_inline enum state step(struct found *found, enum half half, enum event event,
				       __u8 timeouts, __u32 now)
{
	struct conn *conn = found->conn;
	enum state state = state_of(found->life), next = STATE_UDP;
	__u32 expires;

	if (conn->proto == IPPROTO_TCP)
		next = tcp_step(state, half, event);
	else if (!(conn->flags & CONN_CONFIRMED) && state == STATE_UDP)
		conn->flags |= CONN_CONFIRMED;

	if (next != state) {
		__u32 life = make_life(generation_of(found->life), next, PHASE_LIVE);

		if (__sync_val_compare_and_swap(&conn->life, found->life, life) == found->life &&
		    is_active(next) != is_active(state))
			account_activity(found->dest, is_active(next) ? 1 : -1);
	}
	if (unlikely(conn->control) && is_assuring(conn, next, half)) {
		conn->flags |= CONN_CONFIRMED;
		assure_template(conn->control);
	}
	expires = now + settings.timeouts[timeouts].states[next & (STATE_SLOTS - 1)];
	/* A line that is not written stays shared between CPUs. */
	if (conn->expires != expires)
		conn->expires = expires;
	return next;
}

/* What was decided for a new connection. */
struct choice {
	__u32 dest;
	__u32 control; /* location of its template, that is held for it; 0: none */
	enum conn_flags flags;
};

/*
 * worth says how much an entry is worth keeping when a new connection needs its
 * place; the smallest goes. Nothing in the middle of its life is ever given up.
 */
#define WORTH_FREE 0
#define WORTH_EXPIRED 1
#define WORTH_EMBRYONIC 2
#define WORTH_CLOSED (1u << 30)
#define WORTH_KEEPING 0xffffffff

static __always_inline int is_embryonic(const struct conn *conn, enum state state)
{
	return state == STATE_SYN_RECV || state == STATE_SYNACK ||
	       (state == STATE_NONE && !(conn->flags & CONN_CONFIRMED)) ||
	       (state == STATE_UDP && !(conn->flags & CONN_CONFIRMED));
}

static __always_inline int is_closed(enum state state)
{
	return state == STATE_TIME_WAIT || state == STATE_CLOSE || state == STATE_LAST_ACK ||
	       state == STATE_KILLED;
}

static __always_inline __u32 worth(const struct conn *conn, __u32 life, __u32 now)
{
	__u32 left = READ_ONCE(conn->expires) - now;

	if (phase_of(life) == PHASE_FREE)
		return WORTH_FREE;
	if (phase_of(life) == PHASE_BUSY || (phase_of(life) == PHASE_LIVE && is_controlling(conn)))
		return WORTH_KEEPING;
	if (phase_of(life) == PHASE_DEAD || (__s32)left <= 0)
		return WORTH_EXPIRED;
	if (left >= WORTH_CLOSED / 2)
		return WORTH_KEEPING;
	if (is_embryonic(conn, state_of(life)))
		return WORTH_EMBRYONIC + left;
	if (is_closed(state_of(life)) || is_template(conn))
		return WORTH_CLOSED + left;
	return WORTH_KEEPING;
}

/*
 * claim takes over the entry of least worth among both buckets, leaving it
 * BUSY: its number plus one, or 0.
 */
__noinline __u64 claim(const struct place *place, __u32 now)
{
	__u32 least = WORTH_KEEPING, seen = 0, busy;
	struct remains gone;
	struct conn *conn;
	__u64 best = 0;

	if (!place)
		return 0;
	for (__u32 b = 0; b < 2 && least > WORTH_EXPIRED; b++) {
		__u32 index = b ? place->buckets[1] : place->buckets[0];
		struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);

		if (!bucket)
			return 0;
		for (__u32 i = 0; i < BUCKET_CONNS && least > WORTH_FREE; i++) {
			__u32 slot = neighbour(place, i);
			__u32 life = READ_ONCE(bucket->conns[slot].life);
			__u32 mine = worth(&bucket->conns[slot], life, now);

			if (mine < least) {
				least = mine;
				best = (__u64)index * BUCKET_CONNS + slot + 1;
				seen = life;
			}
		}
	}
	conn = best ? conn_at(best) : NULL;
	if (!conn)
		return 0;
	gone = remains_of(conn);
	busy = make_life(generation_of(seen) + 1, STATE_NONE, PHASE_BUSY);
	if (__sync_val_compare_and_swap(&conn->life, seen, busy) != seen)
		return 0;
	if (phase_of(seen) != PHASE_LIVE)
		return best;
	if (is_controlling(conn)) { /* since a moment ago: it stays */
		__sync_val_compare_and_swap(&conn->life, busy, seen);
		return 0;
	}
	account_gone(&gone, is_active(state_of(seen)), now);
	return best;
}

/* fill writes what an entry is found by, and where it leads. */
static __always_inline void fill(struct conn *conn, const struct flow *flow, __u32 dest,
				 enum conn_flags flags, __u32 expires)
{
	conn->cip = flow->src;
	conn->vip = flow->dst;
	conn->cport = flow->port.source;
	conn->vport = flow->port.dest;
	conn->proto = flow->proto;
	conn->flags = flags;
	conn->dest = dest;
	conn->expires = expires;
	conn->hop_epoch = 0;
}

/* publish lets an entry that was claimed and filled be found. */
static __always_inline void publish(struct conn *conn, struct found *found)
{
	found->conn = conn;
	found->dest = conn->dest;
	found->life = make_life(generation_of(conn->life), STATE_NONE, PHASE_LIVE);
	/* An exchange, not a store: it orders the writes before it on every CPU. */
	__sync_lock_test_and_set(&conn->life, found->life);
}

/*
 * new_conn enters a connection for a request. If another CPU entered the same
 * one meanwhile, this one gives way and the other's is found.
 */
static __always_inline int new_conn(const struct place *place, const struct packet *pkt,
				    const struct choice *choice, __u32 ifindex, struct found *found)
{
	__u32 now = pkt->moment.now;
	struct found other = {};
	__u64 location = claim(place, now);
	struct conn *conn;

	if (!location) /* lost a race for the entry: once more, then the table is full */
		location = claim(place, now);
	conn = location ? conn_at(location) : NULL;
	if (!conn)
		return 0;

	/* kernel: ip_vs_conn_new() gives 3 s until the state machine ran */
	fill(conn, &pkt->flow, choice->dest, choice->flags,
	     now + settings.timeouts[0].states[STATE_SYN_RECV]);
	__builtin_memcpy(conn->rest.hop.mac, pkt->eth->h_source, sizeof(conn->rest.hop.mac));
	conn->rest.hop.ifindex = ifindex;
	conn->control = choice->control;
	account_begin(choice->dest);
	publish(conn, found);

	if (find_anywhere(&pkt->flow, REQUEST, now, &other) && other.conn != conn) {
		end(found, now);
		*found = other;
	}
	return 1;
}

#endif
