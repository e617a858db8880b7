/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What fragments of one packet have in common. */
#ifndef LVSX_TYPES_FRAGMENT_H
#define LVSX_TYPES_FRAGMENT_H

#include <linux/types.h>

#include "../addr.h"

/* Whose fragments belong together (RFC 791, section 3.2; RFC 8200, section 4.5). */
struct fragment_key {
	union addr src;
	union addr dst;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key has holes");

/* What a first fragment leaves for those after it. */
struct fragment {
	__be16 source; /* ports */
	__be16 dest;
	__u32 expires; /* in ticks */
	__u32 once;    /* the destination of one packet that left no connection, or DEST_NONE */
	__u32 end;     /* of the first, in bytes */
};
_Static_assert(sizeof(struct fragment) == 16, "fragment has holes");

/* One that came before its first, in front of its frame. */
struct early_fragment {
	struct fragment_key key;
	__u32 ifindex; /* by which it came */
	__u32 size;    /* of the frame, in bytes */
};
_Static_assert(sizeof(struct early_fragment) == 48, "early_fragment has holes");

#endif
