/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How many connections a destination has, and whether it takes more.
 *
 * The kernel marks a destination as overloaded when its connections reach the
 * upper threshold and takes the mark away when they fall below the lower one
 * (ip_vs_conn.c: ip_vs_bind_dest(), ip_vs_unbind_dest()). Here the end of a
 * connection changes nothing but the count: whoever asks compares it, and the
 * next connection that begins below the lower threshold takes the mark away.
 */
#ifndef LVSX_LOAD_H
#define LVSX_LOAD_H

#include "maps.h"
#include "types.h"

/* Below so many connections a destination that was full takes more. */
static __always_inline __u32 lower_threshold(const struct dest_load *load)
{
	return load->lower ? load->lower : load->upper - load->upper / 4;
}

/* note_threshold minds the thresholds when a connection begins beside before others. */
static __always_inline void note_threshold(struct dest_load *load, __u32 before)
{
	if (!load->upper)
		return;
	if (before + 1 >= load->upper)
		load->reached = 1;
	else if (before < lower_threshold(load))
		load->reached = 0;
}

static __always_inline int is_overloaded(const struct dest_load *load)
{
	return load->reached && load->total >= lower_threshold(load);
}

/* The kernel's overhead of a destination: an active connection weighs 256 idle ones. */
static __always_inline __s64 overhead(const struct dest_load *load)
{
	return ((__s64)load->active << 8) + load->total;
}

/* Quiesced, or never given a weight. */
static __always_inline int has_no_weight(const struct dest *dest)
{
	return !dest->weight || dest->flags & DEST_QUIESCED;
}

/* is_available tells whether a destination may be given a connection, its weight aside. */
static __always_inline int is_available(__u32 dest)
{
	const struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	return load && !is_overloaded(load);
}

static __always_inline void account_begin(__u32 dest, int active)
{
	struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	if (!load)
		return;
	note_threshold(load, __sync_fetch_and_add(&load->total, 1));
	if (active)
		__sync_fetch_and_add(&load->active, 1);
}

/* account_once is the beginning and the end of a connection in one. */
static __always_inline void account_once(__u32 dest)
{
	struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	if (load)
		note_threshold(load, READ_ONCE(load->total));
}

static __always_inline void account_activity(__u32 dest, int change)
{
	struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	if (load)
		__sync_fetch_and_add(&load->active, change);
}

static __always_inline void account_end(__u32 dest, int active)
{
	struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	if (!load)
		return;
	__sync_fetch_and_add(&load->total, -1);
	if (active)
		__sync_fetch_and_add(&load->active, -1);
}

static __always_inline void account_template(__u32 dest, int change)
{
	struct dest_load *load = bpf_map_lookup_elem(&dest_loads, &dest);

	if (load)
		__sync_fetch_and_add(&load->persistent, change);
}

#endif
