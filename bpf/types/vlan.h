/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* VLAN interfaces, and the tags (IEEE 802.1Q) that tell their frames from others of the port. */
#ifndef LVSX_TYPES_VLAN_H
#define LVSX_TYPES_VLAN_H

#include <linux/types.h>

#define VLANS 4096
#define VLAN_TAGS 2

enum vlan_bits {
	VLAN_ID = 0xfff,	 /* mask */
	VLAN_SERVICE = 1U << 15, /* it is a service's, 802.1ad, not a customer's */
} __attribute__((packed));

/* Where a VLAN interface's frames are. */
struct vlan {
	__u32 port;			/* the interface below all tags */
	enum vlan_bits tags[VLAN_TAGS]; /* outermost first, in the machine's order; 0: none */
};
_Static_assert(sizeof(struct vlan) == 8, "vlan has holes");

/* A tag in a frame, behind the addresses. */
struct vlan_tag {
	__be16 type;
	__be16 control;
};
_Static_assert(sizeof(struct vlan_tag) == 4, "vlan_tag is a word");

/* The tags that the packet under way came with. */
struct taken_tags {
	struct vlan_tag tags[VLAN_TAGS];
	__u32 count;
};

#endif
