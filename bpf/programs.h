/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs that director() leaves a packet to which few are like. The verifier
 * looks through each alone, and none needs what another has on the stack.
 */
#ifndef LVSX_PROGRAMS_H
#define LVSX_PROGRAMS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "types.h"
#include "vlan.h"

int take_any(struct xdp_md *ctx);
int take_new(struct xdp_md *ctx);
int follow_error(struct xdp_md *ctx);
int follow_fragment(struct xdp_md *ctx);
int follow_front(struct xdp_md *ctx);

enum program {
	PROGRAM_ANY,
	PROGRAM_ERROR,
	PROGRAM_FRAGMENT,
	PROGRAM_FRONT,
	PROGRAM_NEW,
	PROGRAM_COUNT,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROGRAM_COUNT);
	__type(key, __u32); /* enum program */
	__array(values, int(struct xdp_md *));
} programs SEC(".maps") = {
	.values = {
		[PROGRAM_ANY] = (void *)&take_any,
		[PROGRAM_ERROR] = (void *)&follow_error,
		[PROGRAM_FRAGMENT] = (void *)&follow_fragment,
		[PROGRAM_FRONT] = (void *)&follow_front,
		[PROGRAM_NEW] = (void *)&take_new,
	},
};

/* leave_to goes on with another program, from the packet as it came. It does not come back. */
static __always_inline enum verdict leave_to(struct xdp_md *ctx, struct packet *pkt,
					     enum program program)
{
	if (!restore_tags(ctx, pkt))
		return VERDICT_NO_ROOM;
	bpf_tail_call_static(ctx, &programs, program);
	return VERDICT_NO_PROGRAM;
}

#endif
