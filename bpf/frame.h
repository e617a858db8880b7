/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What stands where in a frame, by its distance from the start. */
#ifndef LVSX_FRAME_H
#define LVSX_FRAME_H

#include <linux/bpf.h>

/* No header that is read here lies further back; a bound for the verifier, which clang must not see
 * through. */
#define PLACE_MASK 0x3fff

/* at returns what stands at a place of the frame, NULL if it ends before. */
static __always_inline void *at(struct xdp_md *ctx, __u32 place, __u32 size)
{
	void *found;

	asm volatile("" : "+r"(place));
	found = (void *)(long)ctx->data + (place & PLACE_MASK);
	/* The sum that is tested has to be the one that is used. */
	asm volatile("" : "+r"(found));
	return found + size <= (void *)(long)ctx->data_end ? found : NULL;
}

#endif
