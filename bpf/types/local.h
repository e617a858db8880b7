/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is told along with a packet that the director itself sends. */
#ifndef LVSX_TYPES_LOCAL_H
#define LVSX_TYPES_LOCAL_H

#include <linux/types.h>

/* Of every network namespace's lo: include/net/flow.h. */
#define LOOPBACK_IFINDEX 1

/*
 * In place of the source MAC of a packet that local_out() gives to director():
 * what XDP could not see by itself, and what give_back() needs.
 */
struct origin {
	__u16 merged;  /* whether the stack has still to cut it into packets */
	__u32 ifindex; /* by which it was leaving */
} __attribute__((packed));
_Static_assert(sizeof(struct origin) == 6, "origin takes the place of a MAC address");

#endif
