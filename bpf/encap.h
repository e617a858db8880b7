/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What stands between the outer and the inner IP header: GRE, or UDP and GUE. */
#ifndef LVSX_ENCAP_H
#define LVSX_ENCAP_H

#include <linux/types.h>

/* RFC 2784. With GRE_CHECKSUM another 4 bytes follow: the checksum and 0. */
struct gre {
	__be16 flags;
	__be16 protocol; /* an Ethernet type */
};
_Static_assert(sizeof(struct gre) == 4, "gre is the header's first word");

#define GRE_CHECKSUM 0x8000

/*
 * draft-ietf-intarea-gue, variant 0; include/net/gue.h. In variant 1 there is
 * no such header: the first bits are those of the IP header that follows.
 */
struct gue {
	__u8 lead;     /* variant (2 bits), control (1), words that follow (5) */
	__u8 protocol; /* of the packet inside: 4 or 41 */
	__be16 flags;
};
_Static_assert(sizeof(struct gue) == 4, "gue is the header's first word");

#define GUE_VARIANT(lead) ((lead) >> 6)
#define GUE_PRIVATE 0x0001	       /* a word of private flags follows */
#define GUE_PRIVATE_REMCSUM 0x80000000 /* and this option behind it */

/* What GUE says of a transport checksum that its receiver has to finish. */
struct gue_remcsum {
	__be32 private_flags;
	__be16 start;  /* of what is summed, in the inner packet */
	__be16 offset; /* of the checksum, in the inner packet */
};
_Static_assert(sizeof(struct gue_remcsum) == 8, "gue_remcsum is two words");

#endif
