/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a NAT real server sends from a service's port, and of no connection: with
 * nat_icmp_send it hears so (ip_vs_core.c: ip_vs_out_hook()).
 */
#ifndef LVSX_STRAY_H
#define LVSX_STRAY_H

#include "forward.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

/* The NAT destination that an address and port is one of (ip_vs_has_real_service()). */
static __always_inline const struct dest *find_real_server(const struct flow *flow)
{
	struct service_key key = {
		.vip = flow->src,
		.port = flow->port.source,
		.proto = flow->proto,
	};
	__u32 *dest = bpf_map_lookup_elem(&real_servers, &key);

	if (!dest) { /* those of a firewall mark serve all protocols */
		key.proto = 0;
		dest = bpf_map_lookup_elem(&real_servers, &key);
	}
	return dest ? dest_by(*dest) : NULL;
}

/* What ends a connection is never answered. */
static __always_inline int is_end(const struct packet *pkt)
{
	switch (pkt->flow.proto) {
	case IPPROTO_TCP:
		return pkt->event == EVENT_RST;
	case IPPROTO_SCTP:
		return pkt->event == SCTP_ABORT;
	default:
		return 0;
	}
}

/*
 * is_stray tells whether a packet from a real server is to be answered, and
 * makes the director its destination if it is for somebody else: who is asked
 * answers. The kernel has taken a hop off what it forwards by then (ip_forward()).
 */
static __noinline int is_stray(struct packet *pkt, int to_vip)
{
	const struct dest *dest = find_real_server(&pkt->flow);

	if (!dest || hop_limit(pkt) <= 1 || is_end(pkt))
		return 0;
	if (to_vip || is_equal(&pkt->flow.dst, &dest->tunnel_source))
		return 1;
	if (!(dest->tunnel_source.halves[0] | dest->tunnel_source.halves[1]))
		return 0;
	lessen_hop_limit(pkt);
	pkt->flow.dst = dest->tunnel_source;
	return 1;
}

#endif
