/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The firewall mark of a packet. XDP comes before the firewall: the marks are
 * those of the director's own rules. What rules say of a network of VIPs stands
 * ready as a list of steps, by port.
 */
#ifndef LVSX_MARK_H
#define LVSX_MARK_H

#include "maps.h"
#include "packet.h"
#include "types.h"

/* find_mark looks through one list, of the longest prefix: it holds what wider ones say, too. */
__noinline __u32 find_mark(const struct flow *flow)
{
	struct mark_key key = { .prefix = MARK_KEY_BITS };
	const struct mark_list *list;
	const struct mark_step *step;
	__u32 first, count, port;

	if (!flow)
		return 0;
	key.proto = flow->proto;
	key.family = is_ipv4(&flow->dst) ? AF_INET : AF_INET6;
	key.vip = flow->dst;
	list = bpf_map_lookup_elem(&mark_lists, &key);
	if (!list)
		return 0;

	/* The last step at the port or before it; there are no more than ports. */
	first = list->first;
	count = list->count;
	port = bpf_ntohs(flow->port.dest);
	for (int i = 0; i < 16 && count > 1; i++) {
		__u32 middle = first + count / 2;

		step = bpf_map_lookup_elem(&mark_steps, &middle);
		if (!step)
			return 0;
		if (step->port <= port)
			first = middle;
		count -= count / 2;
	}
	step = bpf_map_lookup_elem(&mark_steps, &first);
	return step ? step->mark : 0;
}

#endif
