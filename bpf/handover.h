/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is left to do of a packet that generic XDP hands over: it may be merged
 * from many and its checksum be unfinished, which the stack's own functions
 * know how to treat.
 */
#ifndef LVSX_HANDOVER_H
#define LVSX_HANDOVER_H

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "tunnel.h"
#include "types.h"

static __always_inline int load_ip(struct __sk_buff *skb, struct iphdr *ip)
{
	return !bpf_skb_load_bytes(skb, sizeof(struct ethhdr), ip, sizeof(*ip));
}

/* finish_masquerade lets the transport checksum follow the addresses and ports that XDP changed. */
static __always_inline int finish_masquerade(struct __sk_buff *skb, const struct handover *left)
{
	__u32 offset, flags = 0;
	struct iphdr ip;

	if (!load_ip(skb, &ip))
		return 0;
	offset = sizeof(struct ethhdr) + ip.ihl * 4;
	if (ip.protocol == IPPROTO_TCP) {
		offset += offsetof(struct tcphdr, check);
	} else {
		offset += offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0;
	}
	return !bpf_l4_csum_replace(skb, offset, left->from, left->to,
				    flags | BPF_F_PSEUDO_HDR | sizeof(left->to)) &&
	       !bpf_l4_csum_replace(skb, offset, left->from_port, left->to_port,
				    flags | sizeof(left->to_port));
}

/* finish_tunnel puts the outer header in front, and makes room for it in each of merged segments.
 */
static __always_inline int finish_tunnel(struct __sk_buff *skb, const struct handover *left)
{
	struct iphdr inner, outer;

	if (!load_ip(skb, &inner))
		return 0;
	outer = outer_header(&inner, left->from, left->to, bpf_get_prandom_u32());
	return !bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) &&
	       !bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &outer, sizeof(outer), 0);
}

#endif
