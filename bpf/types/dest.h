/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Destinations: how to reach them, their load, their counters. */
#ifndef LVSX_TYPES_DEST_H
#define LVSX_TYPES_DEST_H

#include <linux/types.h>

#include "../addr.h"
#include "cache_line.h"

/* The kernel's IP_VS_CONN_F_FWD_MASK values. */
enum forwarding {
	FORWARDING_MASQ = 0,
	FORWARDING_TUNNEL = 2,
	FORWARDING_ROUTE = 3,
	FORWARDING_BYPASS = 4,	  /* to where it was sent: cache_bypass */
	FORWARDING_ONE_SIDED = 2, /* bit of those whose answers go past the director */
} __attribute__((packed));

#define DESTS 131072
#define DEST_NONE 0xffffffff
#define DEST_BYPASS (DESTS - 1) /* what all connections without a real server have */

/* Everything that a frame needs to reach its next stop. */
struct hop {
	__u8 dmac[6];
	__u8 smac[6];
	__u32 ifindex; /* 0: not resolved */
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct hop) == 16, "hop is two words");

enum dest_flags {
	DEST_AVAILABLE = 1, /* configured; clear while removed and remembered */
	DEST_LOCAL = 2,	    /* an address of the director itself */
	DEST_NO_ROUTE = 4,  /* the director has no route to it */
	DEST_WAS_MASQ = 8,  /* has been a NAT destination: connections may remember */
	DEST_QUIESCED = 16, /* its weight is 0; the field weight says what it was before */
	DEST_NO_HOP = 32,   /* next is not resolved, or by an interface that settings have not */
	DEST_IPV6 = 64,	    /* its address is IPv6 */
	DEST_SHIM = 128,    /* its tunnel is none of IP in IP */
} __attribute__((packed));

/* The kernel's IP_VS_CONN_F_TUNNEL_TYPE_* and IP_VS_TUNNEL_ENCAP_FLAG_*. */
enum tunnel {
	TUNNEL_IPIP,
	TUNNEL_GUE,
	TUNNEL_GRE,
	TUNNEL_TYPE = 3,	 /* mask */
	TUNNEL_CSUM = 1 << 2,	 /* GUE and GRE: with a checksum */
	TUNNEL_REMCSUM = 2 << 2, /* GUE: likewise, as no checksum inside is unfinished here */
} __attribute__((packed));

#define TUNNEL_FLAGS_SHIFT 2

/* A destination: its identity first, then how to reach it. */
struct dest {
	union addr rip;
	union addr tunnel_source; /* outer source address; the route's preferred one */
	struct hop next;
	__be16 port; /* 0: the port that the client asked for */
	enum forwarding forwarding;
	enum dest_flags flags;
	__u16 mtu;     /* of the route to the real server */
	__u8 timeouts; /* the service's */
	enum tunnel tunnel;
	__u16 service;	    /* index in services */
	__be16 tunnel_port; /* of GUE */
	__s32 weight;
};
_Static_assert(sizeof(struct dest) == CACHE_LINE, "dest is one cache line");

/* Connections of a destination now, apart from it because they are written. */
struct dest_load {
	__u32 active;
	__u32 total; /* active and inactive */
	__u32 upper; /* the thresholds, as configured */
	__u32 lower;
	__u32 reached;	  /* total was at upper, and no connection began below the lower threshold
			     since */
	__u32 persistent; /* persistence templates; no part of total */
};
_Static_assert(sizeof(struct dest_load) == 24, "dest_load has holes");

/* Per CPU. Bytes are of the IP packet. In: client to real server. */
struct stats {
	__u64 conns;
	__u64 in_pkts;
	__u64 out_pkts;
	__u64 in_bytes;
	__u64 out_bytes;
};

#endif
