/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What becomes of tunnel packets, and the decapsulator's maps. */
#ifndef LVSX_DECAP_H
#define LVSX_DECAP_H

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

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Go names these as they are spelt here, without VERDICT_. */
enum verdict {
	VERDICT_NOT_TUNNEL,    /* no tunnel packet of the types given: none of our business */
	VERDICT_NOT_OURS,      /* a tunnel packet to another machine */
	VERDICT_UNWRAPPED,     /* handed to the kernel without its outer header */
	VERDICT_OUTER_OPTIONS, /* directors send no IP options */
	VERDICT_OUTER_CHECKSUM,
	VERDICT_OUTER_FRAGMENT, /* came before the one that it continues, or that is lost */
	VERDICT_BAD_FRAGMENT,	/* of a tunnel's packet, as no director makes it */
	VERDICT_UNTRUSTED,	/* not sent by one of the given directors */
	VERDICT_TUNNEL_HEADER,	/* GRE or GUE as no director sends it */
	VERDICT_MALFORMED,	/* no whole IP packet inside */
	VERDICT_NESTED,		/* a tunnel in the tunnel */
	VERDICT_INNER_FRAGMENT, /* a fragment that only an attacker makes */
	VERDICT_NOT_VIP,	/* inner destination is none of the given VIPs */
	VERDICT_MARTIAN,	/* an inner source that no client has */
	VERDICT_CONGESTION,	/* RFC 6040, section 4.2: mark on a packet that cannot carry it */
	VERDICT_NO_ROOM,	/* the kernel refused to move the packet's start */
	VERDICT_COUNT,
};

struct address_set directors SEC(".maps");
struct address_set rips SEC(".maps");
struct address_set vips SEC(".maps");

/* Packets by verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICT_COUNT);
	__type(key, enum verdict);
	__type(value, __u64);
} verdicts SEC(".maps");

#endif
