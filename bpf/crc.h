/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* CRC32c (RFC 9260 appendix A), eight bytes at a time. */
#ifndef LVSX_CRC_H
#define LVSX_CRC_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "chunk.h"
#include "csum.h"
#include "maps.h"

/* What a byte does that is so many bytes from the end of the eight; the director fills it. */
const volatile __u32 crc32c_table[8][256] = {};

struct crc_walk {
	struct xdp_md *ctx;
	__u32 offset; /* in the packet */
	__u32 left;
	__u32 crc;
};

static __always_inline __u32 crc_word(__u32 crc, __u64 word)
{
	word ^= crc;
	crc = 0;
#pragma unroll
	for (int i = 0; i < 8; i++)
		crc ^= crc32c_table[7 - i][word >> (8 * i) & 0xff];
	return crc;
}

/* crc_step sums one chunk of the packet. */
static long crc_step(__u32 i __attribute__((unused)), struct crc_walk *walk)
{
	__u32 key = 0, last = (walk->left < CSUM_CHUNK ? walk->left : CSUM_CHUNK) - 1;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	__u32 crc = walk->crc, whole, part;

	if (!scratch || !walk->left)
		return 1;
	/* Bounds that the verifier of 6.1 follows, and clang must not see through. */
	asm volatile("" : "+r"(last));
	last &= CSUM_CHUNK - 1;
	part = last + 1;
	if (bpf_xdp_load_bytes(walk->ctx, walk->offset, scratch->words, part))
		return 1;
	whole = part / 8;
	for (__u32 w = 0; w < CSUM_CHUNK / 8 && w < whole; w++)
		crc = crc_word(crc, ((__u64 *)scratch->words)[w]);
	for (__u32 b = 0; b < 7; b++) {
		__u32 at = whole * 8 + b;

		if (at >= part)
			break;
		at &= CSUM_CHUNK - 1;
		crc = crc >> 8 ^ crc32c_table[0][(crc ^ ((__u8 *)scratch->words)[at]) & 0xff];
	}
	walk->crc = crc;
	walk->offset += part;
	walk->left -= part;
	return 0;
}

/*
 * crc32c sums size bytes of the packet from offset on. It reads all of them:
 * only for packets that are rare.
 */
__noinline __u32 crc32c(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	struct crc_walk walk = { ctx, offset, size, ~0u };

	bpf_loop(0x10000 / CSUM_CHUNK, crc_step, &walk, 0);
	return ~walk.crc;
}

/*
 * SCTP's checksum is without addresses, and made anew where a port changes
 * (ip_vs_proto_sctp.c: sctp_nat_csum()): one that was wrong is right then. What
 * a virtual link's sender left to hardware is 0, and the stack's to finish.
 */
__noinline int renew_sctp(struct xdp_md *ctx, __u32 offset, __u32 size, __u32 hands_over)
{
	__u32 field = offset + offsetof(struct sctp_header, checksum), crc = 0;

	if (hands_over && !bpf_xdp_load_bytes(ctx, field, &crc, sizeof(crc)) && !crc)
		return 0;
	crc = 0;
	if (bpf_xdp_store_bytes(ctx, field, &crc, sizeof(crc)))
		return 0;
	crc = crc32c(ctx, offset, size);
	return !bpf_xdp_store_bytes(ctx, field, &crc, sizeof(crc));
}

#endif
