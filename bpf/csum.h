/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Internet checksums: incremental (RFC 1624, equation 3) and whole. */
#ifndef LVSX_CSUM_H
#define LVSX_CSUM_H

#include <linux/bpf.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "bytes.h"

/*
 * csum_fold folds a sum below 2^47, what 32768 whole words come to at most: below 2^32, then
 * below 0x18000, then there is no carry left.
 */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What a checksum's complement gains when 32 bits change from one value to another. */
static __always_inline __u64 csum_change32(__be32 from, __be32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 csum_change16(__be16 from, __be16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u64 csum_half(__u64 half)
{
	return (half & 0xffffffff) + (half >> 32);
}

/* Of IPv4 addresses the first words are the same, which changes no sum. */
static __always_inline __u64 csum_change_addr(const union addr *from, const union addr *to)
{
	return csum_half(~from->halves[0]) + csum_half(~from->halves[1]) +
	       csum_half(to->halves[0]) + csum_half(to->halves[1]);
}

static __always_inline __u64 csum_addr(const union addr *addr)
{
	return csum_half(addr->halves[0]) + csum_half(addr->halves[1]);
}

/*
 * The pseudo-header of RFC 8200 section 8.1. It serves for IPv4 as well: in
 * ::ffff:a.b.c.d all but the address sums up to 0xffff, which is 0.
 */
static __always_inline __u64 csum_pseudo(const union addr *src, const union addr *dst, __u8 proto,
					 __u16 length)
{
	return csum_addr(src) + csum_addr(dst) + bpf_htons(proto) + bpf_htons(length);
}

static __always_inline __u16 csum_apply(__u16 csum, __u64 change)
{
	return ~csum_fold((__u16)~csum + change);
}

/*
 * One hop less to live, and the checksum as include/net/ip.h: ip_decrease_ttl() has it: TTL,
 * protocol and checksum are one word, of which the first byte loses what the third gains. What
 * the checksum carries out of the word, or would if it were one more, comes in at its low end.
 */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	bytes4 *word = (bytes4 *)&ip->ttl;
	__u64 sum = (__u64)*word + 0x10000 - 1;

	*word = sum + ((sum + 0x10000) >> 32 << 16);
}

/* The sum over an IPv4 header without options whose check field is 0. */
static __always_inline __u16 ip_csum(const struct iphdr *ip)
{
	const __u32 *words = (const __u32 *)ip;
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += words[i];
	return ~csum_fold(sum);
}

#define CSUM_CHUNK 512

struct scratch {
	__be32 words[CSUM_CHUNK / 4];
};

/* Packet bytes being summed, too many for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* sum_part sums last + 1 bytes of the packet, no more than scratch holds, as whole words. */
static __always_inline __u64 sum_part(struct xdp_md *ctx, struct scratch *scratch, __u32 offset,
				      __u32 last)
{
	scratch->words[last / 4] = 0;
	if (bpf_xdp_load_bytes(ctx, offset, scratch->words, last + 1))
		return 0;
	return (__u32)bpf_csum_diff(NULL, 0, scratch->words, (last / 4 + 1) * 4, 0);
}

/*
 * csum_bytes sums size bytes of the packet from offset on, onto sum. It reads
 * all of them: only for packets that are rare.
 */
__noinline __u64 csum_bytes(struct xdp_md *ctx, __u32 offset, __u32 size, __u64 sum)
{
	__u32 key = 0, last;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);

	if (!scratch)
		return sum;
	for (int i = 0; i < 0x10000 / CSUM_CHUNK && size >= CSUM_CHUNK; i++) {
		sum += sum_part(ctx, scratch, offset, CSUM_CHUNK - 1);
		offset += CSUM_CHUNK;
		size -= CSUM_CHUNK;
	}
	if (!size)
		return sum;
	last = size - 1;
	/* Bounds that the verifier of 6.1 follows, and clang must not see through. */
	asm volatile("" : "+r"(last));
	last &= CSUM_CHUNK - 1;
	return sum + sum_part(ctx, scratch, offset, last);
}

#endif
