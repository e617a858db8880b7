/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv6 extension headers (RFC 8200, section 4), of which any number may precede the payload. */
#ifndef LVSX_EXTENSION_H
#define LVSX_EXTENSION_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>

#include "frame.h"

#define MAX_EXTENSIONS 8

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset; /* in units of 8 bytes, in the upper 13 bits; the lowest: more follow */
	__be32 id;
};

/* IPv6's header and that of the fragment. */
struct fragmented_ipv6 {
	struct ipv6hdr ip6;
	struct fragment_header fragment;
};
_Static_assert(sizeof(struct fragmented_ipv6) == 48, "fragmented_ipv6 has holes");

/* Where a chain of headers has led. */
struct chain {
	__u32 place;
	__u8 protocol; /* of what stands there; still an extension's if there are too many */
	bool extended;
	bool fragmented;
	bool more;    /* fragments follow */
	__u16 offset; /* of the fragment, in bytes */
	__be32 id;    /* of its packet */
};

static __always_inline bool is_extension(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
		return true;
	}
	return false;
}

/* follow goes one header on. What a later fragment has behind its header is no header. */
static __always_inline bool follow(struct xdp_md *ctx, struct chain *chain)
{
	struct fragment_header *header = at(ctx, chain->place, sizeof(*header));

	if (!is_extension(chain->protocol) || chain->offset)
		return false;
	chain->extended = true;
	if (!header)
		return false;
	if (chain->protocol == IPPROTO_FRAGMENT) {
		chain->fragmented = true;
		chain->offset = bpf_ntohs(header->offset) & ~7;
		chain->more = bpf_ntohs(header->offset) & 1;
		chain->id = header->id;
		chain->place += sizeof(*header);
	} else {
		chain->place += (header->reserved + 1) * 8; /* there: the header's length */
	}
	chain->protocol = header->next;
	return true;
}

/* Rare, and global so that the verifier looks at it once. */
__noinline int follow_all(struct xdp_md *ctx, struct chain *chain)
{
	if (!chain)
		return 0;
	for (int i = 0; i < MAX_EXTENSIONS && follow(ctx, chain); i++)
		;
	return chain->extended;
}

/* is_followed_to_end tells whether a chain has led to what is no extension, or to a later fragment.
 */
static __always_inline bool is_followed_to_end(struct xdp_md *ctx, struct chain *chain)
{
	follow_all(ctx, chain);
	return chain->place <= PLACE_MASK && (chain->offset || !is_extension(chain->protocol));
}

#endif
