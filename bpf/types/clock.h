/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What time it is, for ageing and for tests. */
#ifndef LVSX_TYPES_CLOCK_H
#define LVSX_TYPES_CLOCK_H

#include <linux/types.h>

#include "conn.h"
#include "verdict.h"

/* Where a test says what time it is and learns what became of its packet. */
struct test_case {
	__u32 now;  /* in ticks */
	__u32 dice; /* what the first throw shows */
	enum verdict verdict;
	enum state state; /* of the packet's connection, if it went by one */
};

/* Two clocks at one moment. */
struct clock_reading {
	__u64 jiffies;
	__u64 monotonic; /* in nanoseconds */
};

#endif
