/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which packets are for a virtual service. */
#ifndef LVSX_SERVICE_H
#define LVSX_SERVICE_H

#include "maps.h"
#include "packet.h"
#include "types.h"

/* The director computes the same: internal/dataplane/filter.go. */
static __always_inline __u32 filter_bit(const union addr *addr)
{
	__u32 folded = addr->words[0] ^ addr->words[1] ^ addr->words[2] ^ addr->words[3];

	return folded * 0x61c88647u >> (32 - FILTER_BITS);
}

static __always_inline int may_be_vip(const union addr *addr)
{
	__u32 bit = filter_bit(addr);

	return settings.vips[bit >> 6 & (FILTER_WORDS - 1)] >> (bit & 63) & 1;
}

static __always_inline int may_be_rip(const union addr *addr)
{
	__u32 bit = filter_bit(addr);

	return settings.rips[bit >> 6 & (FILTER_WORDS - 1)] >> (bit & 63) & 1;
}

static __always_inline const struct interface *find_interface(__u32 ifindex)
{
	return &settings.interfaces[ifindex & (INTERFACES - 1)];
}

/* A switch may flood what is for others; the kernel's IPVS leaves that alone, too. */
static __always_inline int is_for_us(const struct interface *interface, __u32 ifindex,
				     const struct ethhdr *eth)
{
	return interface->ifindex == ifindex &&
	       !__builtin_memcmp(eth->h_dest, interface->mac, sizeof(interface->mac));
}

/* The service's number in services. */
static __always_inline __u32 *find_service(const struct flow *flow)
{
	struct service_key key = {
		.vip = flow->dst,
		.port = flow->port.dest,
		.proto = flow->proto,
	};

	return bpf_map_lookup_elem(&service_index, &key);
}

#endif
