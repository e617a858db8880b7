/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sh, dh and mh: a hash of the packet's addresses points to a place in the
 * list's table, which internal/sched fills. What differs is the hash, and where
 * to look on when the destination there takes nobody (ip_vs_sh.c, ip_vs_dh.c,
 * ip_vs_mh.c).
 */
#ifndef LVSX_HASH_H
#define LVSX_HASH_H

#include <bpf/bpf_endian.h>

#include "load.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

/* An address as 32 bits: IPv4's own, of IPv6 the exclusive or of its words. */
static __always_inline __u32 fold(const union addr *addr)
{
	__be32 folded = addr->words[3];

	if (addr->halves[0] || addr->words[2] != bpf_htonl(0xffff))
		folded ^= addr->words[0] ^ addr->words[1] ^ addr->words[2];
	return bpf_ntohl(folded);
}

static __always_inline __u64 rotate(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

/* One round of SipHash on the words v[0] to v[3]. */
static __always_inline void sip_round(__u64 v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/*
 * The kernel's hsiphash() of four bytes on 64 bit machines, with mh's first key:
 * SipHash-1-3, of which the low half counts. internal/sched has the same.
 */
static __always_inline __u32 maglev_hash(__u32 value)
{
	const __u64 key = 2654435761, block = 4ULL << 56 | value;
	__u64 v[4] = {
		0x736f6d6570736575ULL ^ key,
		0x646f72616e646f6dULL ^ key,
		0x6c7967656e657261ULL ^ key,
		0x7465646279746573ULL ^ key,
	};

	v[3] ^= block;
	sip_round(v);
	v[0] ^= block;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* hash_32(value, 8) of the kernel's include/linux/hash.h. */
static __always_inline __u32 short_hash(__u32 value)
{
	return value * 0x61c88647u >> 24;
}

static __always_inline int is_hashing(enum scheduler scheduler)
{
	return scheduler == SCHEDULER_DH || scheduler == SCHEDULER_SH || scheduler == SCHEDULER_MH;
}

/* A search through a list's table. */
struct probe {
	__u32 slot;  /* the list's first */
	__u32 count; /* of slots */
	__u32 table;
	__u32 size;  /* of the table */
	__u32 value; /* what is hashed */
	__u32 place; /* the first that was looked at */
	__u32 tries; /* after the first */
	__u32 dest;  /* what was found, or DEST_NONE */
	enum scheduler scheduler;
};

/* The destination in a place of the table, if it takes new connections. */
static __always_inline __u32 dest_at(const struct probe *probe, __u32 place)
{
	__u32 key = probe->table + place / TABLE_LINE;
	struct table_line *line = bpf_map_lookup_elem(&tables, &key);
	struct slot *slot;

	if (!line)
		return DEST_NONE;
	key = line->positions[place % TABLE_LINE];
	if (key >= probe->count)
		return DEST_NONE;
	key += probe->slot;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot || slot->weight <= 0 || !is_available(slot->dest))
		return DEST_NONE;
	return slot->dest;
}

/*
 * sh looks on from twice its place, place by place; mh wherever the hash of the
 * value and a number that counts up points to.
 */
static long probe_step(__u32 i __attribute__((unused)), struct probe *probe)
{
	__u32 place = (probe->place + probe->tries++) % probe->size;

	if (probe->scheduler == SCHEDULER_MH)
		place = maglev_hash(probe->value + place);
	else
		place += probe->place;
	probe->dest = dest_at(probe, place % probe->size);
	return probe->dest != DEST_NONE;
}

/* dh goes by the VIP, the others by the client, with its port if the service says so. */
static __always_inline __u32 hashed_value(const struct flow *flow, enum scheduler scheduler,
					  __u32 flags)
{
	__u32 value = fold(scheduler == SCHEDULER_DH ? &flow->dst : &flow->src);

	if (scheduler != SCHEDULER_DH && flags & SERVICE_HASHES_PORT)
		value += bpf_ntohs(flow->port.source);
	return value;
}

/*
 * look_up returns the destination for a new connection, or DEST_NONE. The
 * scheduler is read before the list, since the director writes them in the
 * other order.
 */
__noinline __u32 look_up(__u32 index, const struct flow *flow)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);
	struct probe probe = {};
	struct list *list;
	__u32 flags, key;

	if (!service || !flow)
		return DEST_NONE;
	probe.scheduler = READ_ONCE(service->scheduler);
	flags = READ_ONCE(service->flags);
	key = READ_ONCE(service->list);
	list = bpf_map_lookup_elem(&lists, &key);
	if (!list)
		return DEST_NONE;
	probe.slot = list->first;
	probe.count = list->count;
	probe.table = list->table;
	probe.size = list->table_size;
	if (!probe.size || list->max_weight <= 0)
		return DEST_NONE;

	probe.value = hashed_value(flow, probe.scheduler, flags);
	probe.place = probe.scheduler == SCHEDULER_MH ? maglev_hash(probe.value)
						      : short_hash(probe.value);
	probe.place %= probe.size;
	probe.dest = dest_at(&probe, probe.place);
	if (probe.dest == DEST_NONE && probe.scheduler != SCHEDULER_DH &&
	    flags & SERVICE_FALLS_BACK)
		bpf_loop(probe.size, probe_step, &probe, 0);
	return probe.dest;
}

#endif
