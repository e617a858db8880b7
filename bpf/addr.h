/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Addresses of both families: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. */
#ifndef LVSX_ADDR_H
#define LVSX_ADDR_H

#include <linux/in6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

union addr {
	__u8 bytes[16];
	__u32 words[4];
	__u64 halves[2];
};

/* Whole halves: a CPU waits for two narrow writes before a wide read. */
static __always_inline union addr from_ipv4(__be32 ip)
{
	union addr addr = { .halves = { 0, (__u64)ip << 32 | bpf_htonl(0xffff) } };

	return addr;
}

static __always_inline union addr from_ipv6(const struct in6_addr *ip)
{
	const __u64 *halves = (const void *)ip; /* unaligned, but the CPU does not mind */
	union addr addr = { .halves = { halves[0], halves[1] } };

	return addr;
}

/* Written as from_ipv6() reads it. */
static __always_inline void to_ipv6(struct in6_addr *ip, const union addr *addr)
{
	__u64 *halves = (void *)ip;

	halves[0] = addr->halves[0];
	halves[1] = addr->halves[1];
}

static __always_inline __be32 to_ipv4(const union addr *addr)
{
	return addr->words[3];
}

static __always_inline int is_ipv4(const union addr *addr)
{
	return !addr->halves[0] && addr->words[2] == bpf_htonl(0xffff);
}

static __always_inline int is_equal(const union addr *a, const union addr *b)
{
	return a->halves[1] == b->halves[1] && a->halves[0] == b->halves[0];
}

#endif
