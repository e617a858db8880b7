/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps of the datapath, and the counters. csum.h has its own. */
#ifndef LVSX_MAPS_H
#define LVSX_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))

/* Sizes are the director's to choose at load; those here are for tests. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, __u32);
} service_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

/*
 * Where a hash of a service's key points: its number plus one, written by who found it in
 * service_index. A hint may be stale, or of another service: who reads it compares.
 */
#define SERVICE_HINT_BITS 14

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SERVICE_HINT_BITS);
	__type(key, __u32);
	__type(value, __u32);
} service_hints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 49152); /* a rule without a protocol has three */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mark_key);
	__type(value, struct mark_list);
} mark_lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mark_step);
} mark_steps SEC(".maps");

/* The director's memory: what mark_lists and mark_steps are made of. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mark_rule);
} mark_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct list);
} lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct table_line);
} tables SEC(".maps");

/* The kernel's limit is 24576 for each service. When all are in use, new addresses just go by wlc.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cache_key);
	__type(value, struct cache_entry);
} caches SEC(".maps");

/*
 * Variables: their addresses stand in the programs, where maps are looked up. Of groups there
 * are group_count, as many as the director makes room for: they come last.
 */
__hidden struct dest dests[DESTS];
__hidden struct verdict_counts verdicts[VERDICT_CPUS];
__hidden struct group groups[1024];

/*
 * NAT's real servers by address, port and protocol, 0 for those of a firewall
 * mark; kept while nat_icmp_send is on.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, __u32); /* number of one such destination */
} real_servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dest_load);
} dest_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 131072);
	__type(key, __u32);
	__type(value, struct stats);
} dest_stats SEC(".maps");

/*
 * The director's memory, that must outlive it like the rest; the datapath does
 * not look at it. A destination shows what it counted since its base; a service
 * the sum of its destinations' counts and its carry.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct stats);
} dest_bases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct stats);
} service_carries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TIMEOUT_SETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct timeout_setting);
} timeouts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sysctl_key);
	__type(value, __s32);
} sysctls SEC(".maps");

/* Fifteen of each group. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 15360);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct conn);
} conns SEC(".maps");

/* Call-IDs for listings; the datapath goes by hashes. Calls beyond these are balanced unnamed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/* First fragments. The oldest gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CREDIT_COUNT);
	__type(key, __u32); /* enum credit_use */
	__type(value, struct credit);
} credits SEC(".maps");

/* How the packet under way was cut: too much for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cut);
} cuts SEC(".maps");

/* Interfaces that can send, at ifindex modulo INTERFACES. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, INTERFACES);
	__type(key, __u32);
	__type(value, __u32); /* ifindex */
} ports SEC(".maps");

/* VLAN interfaces whose frames come with their tags on, by these. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VLANS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vlan);
	__type(value, __u32); /* ifindex */
} vlan_interfaces SEC(".maps");

/* VLAN interfaces by ifindex. XDP sends by the ports below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VLANS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vlan);
} vlans SEC(".maps");

/* Tags of the packet under way, for when it is given back. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct taken_tags);
} taken SEC(".maps");

/* A map of its own in the object, so that the director can write it whole. */
struct director_settings settings SEC(".data.settings");

/*
 * For each hashed address bits of enum filter_use. Packets whose addresses have none are not
 * ours, and cost no lookup.
 */
__hidden enum filter_use filter[1 << FILTER_BITS] SEC(".data.filter");

/* Of tests, whose clock stands still. */
struct test_case test SEC(".data.test");

/* Fixed at load. */
const volatile __u32 group_count = 1024;
const volatile __u64 hash_seed[2] = {};
const volatile __u32 clock_shift = 4; /* a tick is 2^clock_shift jiffies */
#define CLOCK_STANDS 64		      /* where it shows what a test says */

/* is_below compares a number; the one that is gone by then is the same, for the verifier. */
static __always_inline int is_below(__u64 *number, __u32 count)
{
	asm volatile("" : "+r"(*number));
	if (*number >= count)
		return 0;
	asm volatile("" : "+r"(*number));
	return 1;
}

static __always_inline struct dest *dest_by(__u32 number)
{
	__u64 i = number;

	return is_below(&i, DESTS) ? dests + i : NULL;
}

static __always_inline void count_verdict(enum verdict verdict)
{
	__u32 cpu = bpf_get_smp_processor_id() & (VERDICT_CPUS - 1);

	verdicts[cpu].of[verdict & (VERDICT_SLOTS - 1)]++;
}

/* note_verdict counts it, and tells a test. */
static __always_inline void note_verdict(enum verdict verdict, __u8 state)
{
	count_verdict(verdict);
	if (clock_shift == CLOCK_STANDS) {
		test.verdict = verdict;
		test.state = state;
	}
}

static __always_inline void count_in(__u32 dest, __u32 bytes)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats) {
		stats->in_pkts++;
		stats->in_bytes += bytes;
	}
}

/* count_begin counts a connection and its first packet. */
static __always_inline void count_begin(__u32 dest, __u32 bytes)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats) {
		stats->conns++;
		stats->in_pkts++;
		stats->in_bytes += bytes;
	}
}

/* A packet counts once, with its first fragment. */
static __always_inline void count_rest_in(__u32 dest, __u32 bytes)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats)
		stats->in_bytes += bytes;
}

static __always_inline void count_rest_out(__u32 dest, __u32 bytes)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats)
		stats->out_bytes += bytes;
}

static __always_inline void count_out(__u32 dest, __u32 bytes)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats) {
		stats->out_pkts++;
		stats->out_bytes += bytes;
	}
}

static __always_inline void count_conn(__u32 dest)
{
	struct stats *stats = bpf_map_lookup_elem(&dest_stats, &dest);

	if (stats)
		stats->conns++;
}

#endif
