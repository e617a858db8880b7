/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The connection table: how long its entries live, and who may change them. */
#ifndef LVSX_TYPES_LIFE_H
#define LVSX_TYPES_LIFE_H

#include <linux/types.h>

#include "cache_line.h"
#include "conn.h"

enum phase {
	PHASE_FREE,
	PHASE_BUSY,
	PHASE_LIVE,
	PHASE_DEAD,
};

/*
 * A connection's life, apart from its entry: phase (2 bits), tag (12 bits of
 * the hash), state (5 bits), whether it is
 * confirmed, and generation (12 bits).
 * It is one word, changed only by compare-and-swap, so that who changes it owns
 * what it stands for: FREE -> BUSY (claimed by one writer) -> LIVE -> DEAD ->
 * FREE (both by ageing, with time between). A dead connection, and a live one
 * that has expired or must give way, may go to BUSY with another generation:
 * who reads the entry of a live one therefore reads life again afterwards.
 */
#define LIFE_PHASE_MASK 3
#define LIFE_TAG_SHIFT 2
#define LIFE_TAG_MASK 0xfff
#define LIFE_KEY_MASK 0x3fff /* phase and tag */
#define LIFE_STATE_SHIFT 14
#define LIFE_STATE_MASK 0x1f
#define LIFE_CONFIRMED                                                                             \
	(1 << 19) /* UDP: more than one packet was seen; a template: it is assured                 \
		   */
#define LIFE_GENERATION_SHIFT 20
#define LIFE_GENERATION_MASK 0xfff
_Static_assert(STATE_COUNT <= LIFE_STATE_MASK + 1, "a life holds any state");

#define GROUP_CONNS 15

struct group {
	__u32 lives[GROUP_CONNS];
	/*
	 * When somebody last looked for room beyond this group, and how far:
	 * ticks << PASSED_SHIFT | enum passed << 2 | PASSED_MARK; 0: nobody
	 */
	__u32 passed;
};
_Static_assert(sizeof(struct group) == CACHE_LINE, "group is one cache line");

#define PASSED_MARK PHASE_BUSY /* looks like a life that is neither free nor live */
#define PASSED_SHIFT 4

/* How far somebody went from a group; each includes those before it. */
enum passed {
	PASSED_NOT,
	PASSED_TO_SECOND, /* from the first group of some connection to its second */
	PASSED_BEYOND,	  /* from a second one, or one that follows it */
	PASSED_WITH_KIN,  /* so far that only those of one client's port go there */
};

#endif
