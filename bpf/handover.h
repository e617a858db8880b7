/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is left to do of a packet that generic XDP hands over: it may be merged
 * from many and its checksum be unfinished, which the stack's own functions
 * know how to treat.
 */
#ifndef LVSX_HANDOVER_H
#define LVSX_HANDOVER_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"
#include "tunnel.h"
#include "types.h"

/* finish_masquerade lets the transport checksum follow the addresses and ports that XDP changed. */
static __always_inline int finish_masquerade(struct __sk_buff *skb, const struct handover *left)
{
	__u32 flags = left->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	return !bpf_l4_csum_replace(skb, left->check, 0, left->change, flags | BPF_F_PSEUDO_HDR) &&
	       !bpf_l4_csum_replace(skb, left->check, left->from_port, left->to_port,
				    flags | sizeof(left->to_port));
}

/*
 * finish_reset lets the checksum of a packet that became a RST follow, and makes
 * one packet of what was merged.
 */
static __always_inline int finish_reset(struct __sk_buff *skb, const struct cut *cut)
{
	return !bpf_skb_change_tail(skb, skb->len, 0) &&
	       !bpf_l4_csum_replace(skb, cut->check, cut->before, cut->after, sizeof(cut->after)) &&
	       !bpf_l4_csum_replace(skb, cut->check, cut->size, bpf_htons(sizeof(struct tcphdr)),
				    BPF_F_PSEUDO_HDR | sizeof(cut->size));
}

static __always_inline int load_inner(struct __sk_buff *skb, struct inner *inner)
{
	const __u32 offset = sizeof(struct ethhdr);
	struct ipv6hdr ip6;
	struct iphdr ip;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, offset, &ip6, sizeof(ip6)))
			return 0;
		*inner = inner_ipv6(&ip6);
	} else {
		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
			return 0;
		*inner = inner_ipv4(&ip);
	}
	return 1;
}

/* put_outer makes room for a header in each of merged segments, and writes it. */
static __always_inline int put_outer(struct __sk_buff *skb, const void *outer, __u32 size,
				     __be16 h_proto, __u64 flags, enum tunnel tunnel)
{
	if (tunnel == TUNNEL_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	else if (tunnel == TUNNEL_GUE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	return !bpf_skb_adjust_room(skb, size + shim_length(tunnel), BPF_ADJ_ROOM_MAC, flags) &&
	       !bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &h_proto,
				    sizeof(h_proto), 0) &&
	       !bpf_skb_store_bytes(skb, sizeof(struct ethhdr), outer, size, 0);
}

/*
 * put_shim_behind writes what follows an outer header. It has no checksum:
 * nobody can tell here which bytes the stack will still finish, or cut apart.
 */
static __always_inline int put_shim_behind(struct __sk_buff *skb, __u32 size, __u8 proto,
					   __u16 length, const struct dest *dest, __be16 from)
{
	const __u32 place = sizeof(struct ethhdr) + size;

	if (tunnel_type(dest->tunnel) == TUNNEL_GRE) {
		struct gre_shim gre = gre_of(proto, TUNNEL_GRE);

		return !bpf_skb_store_bytes(skb, place, &gre.gre, sizeof(gre.gre), 0);
	}
	if (tunnel_type(dest->tunnel) == TUNNEL_GUE) {
		struct gue_shim gue = gue_of(proto, length, from, dest->tunnel_port);

		return !bpf_skb_store_bytes(skb, place, &gue, sizeof(gue), 0);
	}
	return 1;
}

/* What stands in an outer header's protocol field. */
static __always_inline __u8 tunnel_protocol(enum tunnel tunnel, __u8 inner)
{
	if (tunnel == TUNNEL_GRE)
		return IPPROTO_GRE;
	return tunnel == TUNNEL_GUE ? IPPROTO_UDP : inner;
}

/* finish_tunnel puts the outer header in front. */
static __always_inline int finish_tunnel(struct __sk_buff *skb, const struct handover *left)
{
	const __u32 key = left->dest;
	const struct dest *dest = dest_by(key);
	enum tunnel tunnel;
	struct inner inner;
	__u8 proto;

	if (!dest || !load_inner(skb, &inner))
		return 0;
	if (left->may_fragment)
		inner.dont_fragment = 0;
	tunnel = tunnel_type(dest->tunnel);
	proto = inner.proto;
	inner.proto = tunnel_protocol(tunnel, proto);
	inner.length += shim_length(tunnel);
	if (is_ipv4(&dest->rip)) {
		struct iphdr outer;

		write_outer_ipv4(&outer, &inner, dest,
				 inner.dont_fragment ? bpf_htonl(IP_DF)
						     : (__u16)bpf_get_prandom_u32());
		return put_outer(skb, &outer, sizeof(outer), bpf_htons(ETH_P_IP),
				 BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, tunnel) &&
		       put_shim_behind(skb, sizeof(outer), proto, inner.length, dest,
				       left->from_port);
	}
	struct ipv6hdr outer __attribute__((aligned(8)));

	write_outer_ipv6(&outer, &inner, dest);

	return put_outer(skb, &outer, sizeof(outer), bpf_htons(ETH_P_IPV6),
			 BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, tunnel) &&
	       put_shim_behind(skb, sizeof(outer), proto, inner.length, dest, left->from_port);
}

#endif
