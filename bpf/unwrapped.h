/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether the packet under way came out of a front's tunnel (front.h). */
#ifndef LVSX_UNWRAPPED_H
#define LVSX_UNWRAPPED_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} unwrapped SEC(".maps");

static __always_inline void note_unwrapped(int is)
{
	__u32 cpu = 0, *noted = bpf_map_lookup_elem(&unwrapped, &cpu);

	if (noted)
		*noted = is;
}

static __always_inline int is_unwrapped(void)
{
	__u32 cpu = 0, *noted = bpf_map_lookup_elem(&unwrapped, &cpu);

	return noted && *noted;
}

/* was_unwrapped tells it, and forgets it. */
static __always_inline int was_unwrapped(void)
{
	int is = is_unwrapped();

	if (is)
		note_unwrapped(0);
	return is;
}

#endif
