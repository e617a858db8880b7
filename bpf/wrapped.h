/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A wrapped packet, as the decapsulator of a real server and a director behind
 * fronts take it apart. Each has an enum verdict of its own; what is shared
 * goes on with VERDICT_UNWRAPPED.
 */
#ifndef LVSX_WRAPPED_H
#define LVSX_WRAPPED_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "frame.h"

/* Sets of addresses. What is said of each, vips alone use: the largest TCP segment, 0: any. */
struct address_set {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, union addr);
	__type(value, __u16);
};

/* A type of tunnel, as the outer header shows it. */
struct tunnel_type {
	__be16 port; /* of GUE, else 0 */
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct tunnel_type) == 4, "tunnel_type has holes");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct tunnel_type);
	__type(value, __u8);
} tunnel_types SEC(".maps");

/* A tunnel packet under way. Places count from the start of the frame, in bytes. */
struct wrapped {
	union addr from; /* of the outer header */
	union addr to;
	union addr source; /* of the inner header */
	union addr dest;
	__u32 payload;	 /* place of what the outer IP header carries */
	__u32 end;	 /* place behind that */
	__u32 whole;	 /* place behind all of it, as far as is known, if it is in fragments */
	__u32 inner;	 /* place of the inner packet */
	__u32 inner_end; /* place behind it */
	__u32 l4;	 /* place of its transport header, 0: it is a fragment */
	__u8 l4_protocol;
	__u8 protocol; /* of the outer header */
	__u8 tos;      /* outer */
	bool ipv6;     /* the inner packet is */
	bool summed;   /* GRE or UDP has a checksum */
	bool remote;   /* the transport checksum is to be finished, see struct gue_remcsum */
	bool more;     /* fragments of it follow */
	__u16 offset;  /* of the fragment, in bytes */
	__u32 id;      /* of its packet */
	__u16 remote_start;
	__u16 remote_offset;
	enum verdict flaw; /* of the outer header, VERDICT_UNWRAPPED: none */
};

static __always_inline bool contains(void *set, const union addr *address)
{
	return bpf_map_lookup_elem(set, address) != NULL;
}

#endif
