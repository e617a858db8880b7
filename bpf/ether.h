/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Ethernet headers in whole words: of the kernel's packed struct clang reads
 * and writes one byte at a time. Unaligned, but the CPU does not mind.
 */
#ifndef LVSX_ETHER_H
#define LVSX_ETHER_H

#include <linux/if_ether.h>
#include <linux/types.h>

#include "bytes.h"
#include "types.h"

static __always_inline __be16 ether_type(const struct ethhdr *eth)
{
	return *(const bytes2 *)((const void *)eth + 2 * ETH_ALEN);
}

static __always_inline void set_ether_type(struct ethhdr *eth, __be16 type)
{
	*(bytes2 *)((void *)eth + 2 * ETH_ALEN) = type;
}

/* All bits in which six bytes differ; two more follow, which it reads, too. */
static __always_inline __u64 mac_difference(const __u8 *a, const __u8 *b)
{
	return (*(const bytes8 *)a ^ *(const bytes8 *)b) << 16;
}

static __always_inline int is_same_mac(const __u8 *a, const __u8 *b)
{
	return !mac_difference(a, b);
}

/* address_ether writes a hop's addresses, which lie there as in the frame. */
static __always_inline void address_ether(struct ethhdr *eth, const struct hop *hop)
{
	*(bytes8 *)eth = *(const bytes8 *)hop;
	*(bytes4 *)((void *)eth + 8) = *(const bytes4 *)((const void *)hop + 8);
}

/* MAC addresses are the low 48 bits of eight bytes. */
#define MAC_BITS ((1ULL << 48) - 1)

/* client_hop_from is the way back to who sent a frame: Ethernet's type follows its address. */
static __always_inline struct client_hop client_hop_from(const struct ethhdr *eth, __u32 ifindex)
{
	const void *source = (const void *)eth + ETH_ALEN;
	struct client_hop client;

	*(bytes8 *)&client = (*(const bytes8 *)source & MAC_BITS) | (__u64)ifindex << 48;
	return client;
}

/*
 * client_hop_by is the way to a client through an interface. Written in two
 * words, as address_ether() reads it.
 */
static __always_inline struct hop client_hop_by(const struct client_hop *client,
						const struct interface *out)
{
	struct hop hop;
	bytes8 *words = (bytes8 *)&hop;

	words[0] = (*(const bytes8 *)client & MAC_BITS) | (__u64) * (const bytes2 *)out->mac << 48;
	words[1] = *(const bytes4 *)(out->mac + 2) | (__u64)out->ifindex << 32;
	return hop;
}

#endif
