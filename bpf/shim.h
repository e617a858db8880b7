/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Between the two IP headers of a tunnel: nothing, GRE, or UDP and GUE.
 *
 *   IPIP   outer IP |                     inner IP | ...
 *   GRE    outer IP | GRE, its checksum | inner IP | ...
 *   GUE    outer IP | UDP | GUE         | inner IP | ...
 */
#ifndef LVSX_SHIM_H
#define LVSX_SHIM_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>

#include "encap.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

/* net.ipv4.ip_local_port_range, as it is by default: [first, last) are used, as the kernel does. */
#define SOURCE_PORT_FIRST 32768
#define SOURCE_PORT_LAST 60999

struct gre_shim {
	struct gre gre;
	__be16 check;
	__be16 zero;
};
_Static_assert(sizeof(struct gre_shim) == 8, "gre_shim is two words");

struct gue_shim {
	struct udphdr udp;
	struct gue gue;
};
_Static_assert(sizeof(struct gue_shim) == 12, "gue_shim is three words");

union shim {
	struct gre_shim gre;
	struct gue_shim gue;
};

static __always_inline enum tunnel tunnel_type(enum tunnel tunnel)
{
	return tunnel & TUNNEL_TYPE;
}

static __always_inline __u32 shim_length(enum tunnel tunnel)
{
	switch (tunnel_type(tunnel)) {
	case TUNNEL_GUE:
		return sizeof(struct gue_shim);
	case TUNNEL_GRE:
		return tunnel & TUNNEL_CSUM ? sizeof(struct gre_shim) : sizeof(struct gre);
	default:
		return 0;
	}
}

/*
 * flow_port spreads flows over source ports, so that the network can spread
 * them over its ways: always the same for one flow (include/net/udp.h:
 * udp_flow_src_port()).
 */
static __always_inline __be16 flow_port(const struct flow *flow)
{
	const __u64 multiplier = 0x9e3779b97f4a7c15ULL;
	__u64 hash = hash_seed[1] ^ flow->src.halves[0] ^ flow->dst.halves[0];

	hash = (hash ^ flow->src.halves[1]) * multiplier;
	hash = (hash ^ hash >> 32 ^ flow->dst.halves[1]) * multiplier;
	hash ^= hash >> 32 ^ ((__u64)flow->port.source << 16 | flow->port.dest);
	hash = (hash ^ (__u64)flow->proto << 32) * multiplier;
	return bpf_htons(SOURCE_PORT_FIRST +
			 ((hash >> 32) * (SOURCE_PORT_LAST - SOURCE_PORT_FIRST) >> 32));
}

/* Length is that of the inner packet and the shim together; checksums are 0. */
static __always_inline struct gue_shim gue_of(__u8 proto, __u16 length, __be16 from, __be16 to)
{
	return (struct gue_shim){
		.udp = { .source = from, .dest = to, .len = bpf_htons(length) },
		.gue = { .protocol = proto },
	};
}

static __always_inline struct gre_shim gre_of(__u8 proto, enum tunnel tunnel)
{
	return (struct gre_shim){ .gre = {
					  .flags = tunnel & TUNNEL_CSUM ? bpf_htons(GRE_CHECKSUM)
									: 0,
					  .protocol = proto == IPPROTO_IPV6 ? bpf_htons(ETH_P_IPV6)
									    : bpf_htons(ETH_P_IP),
				  } };
}

#endif
