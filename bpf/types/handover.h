/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What XDP in generic mode leaves to the tc program behind it. */
#ifndef LVSX_TYPES_HANDOVER_H
#define LVSX_TYPES_HANDOVER_H

#include <linux/types.h>

enum handover_work {
	HANDOVER_SEND,
	HANDOVER_MASQ,	 /* the transport checksum follows a change of one address and port */
	HANDOVER_TUNNEL, /* an outer header is to be put in front */
	HANDOVER_SPLIT,	 /* it is too big, and to be cut into fragments */
	HANDOVER_BACK,	 /* an answer: it goes to where the packet came from */
} __attribute__((packed));

/*
 * What XDP in generic mode leaves to the tc program behind it, in front of the
 * packet. There a packet may be merged beyond the MTU and its checksum be
 * unfinished; the stack can send such, XDP cannot.
 */
struct handover {
	__u32 ifindex;
	union {
		__u32 dest;   /* whose outer header it is */
		__u32 change; /* what the transport checksum gains by the new address */
	};
	__be16 from_port; /* before; of GUE: the outer source port */
	__be16 to_port;	  /* and after */
	union {
		__u16 check; /* where in the frame the transport checksum stands */
		__u16 mtu;   /* to which to cut */
	};
	union {
		__u8 proto;
		__u8 may_fragment; /* of an outer header: without DF */
	};
	enum handover_work work;
};

/* How a TCP packet that became a RST was cut. */
struct cut {
	__u16 before; /* sum over its segment */
	__u16 after;  /* and over what is left */
	__be16 size;  /* of the segment as it was; 0: it was not cut */
	__u16 check;  /* where in the frame the checksum stands */
};

/* All that stands before a packet that is handed over. */
struct left {
	struct handover handover;
	struct cut cut;
};
_Static_assert(sizeof(struct left) <= 32, "it fits before a packet");

#endif
