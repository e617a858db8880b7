/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Firewall marks: which packets have which. */
#ifndef LVSX_TYPES_MARK_H
#define LVSX_TYPES_MARK_H

#include <linux/types.h>

#include "../addr.h"

/* A network of VIPs, for the longest prefix to be found. */
struct mark_key {
	__u32 prefix; /* bits that count of all below */
	__u8 proto;
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 pad[2];
	union addr vip;
};
_Static_assert(sizeof(struct mark_key) == 24, "mark_key has holes");

#define MARK_KEY_BITS 160 /* of a whole address */

/* Where a network's steps are, by port. */
struct mark_list {
	__u32 first; /* index in mark_steps */
	__u32 count; /* at least one; the first is at port 0 */
};

/* From this port on, packets have this mark; 0 is none. */
struct mark_step {
	__u32 port;
	__u32 mark;
};

enum mark_use {
	MARK_FREE,
	MARK_CONFIGURED,
	MARK_DELETED, /* connections that came by it may live on: its VIPs stay in the filter */
};

/* A rule as the user gave it, for the director alone. */
struct mark_rule {
	union addr vip;
	__u8 bits;  /* of the prefix, of an IPv4 network 32 at most */
	__u8 proto; /* 0: each that services have */
	__u16 first_port;
	__u16 last_port;
	__u16 pad;
	__u32 mark;
	enum mark_use use;
};
_Static_assert(sizeof(struct mark_rule) == 32, "mark_rule has holes");

#endif
