/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * VLAN tags, where the program runs in the driver of the port: taken off a frame
 * before it is looked at, and put on again where it goes. All in between sees
 * frames of a VLAN interface, as the kernel's stack does.
 *
 *   Ethernet addresses | tag | tag | type | packet
 *
 * All are global functions, so that the verifier looks through each once, and
 * frames without tags pay nothing.
 */
#ifndef LVSX_VLAN_H
#define LVSX_VLAN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frame.h"
#include "interface.h"
#include "maps.h"
#include "types.h"

#define ETH_ADDRESSES (2 * ETH_ALEN)

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline struct taken_tags *find_taken(void)
{
	__u32 cpu = 0;

	return bpf_map_lookup_elem(&taken, &cpu);
}

/* Both addresses. */
struct ether_addresses {
	__u32 words[ETH_ADDRESSES / sizeof(__u32)];
};

/* shift takes so many bytes behind the addresses, or makes room for them if negative. */
static __always_inline int shift(struct xdp_md *ctx, int bytes)
{
	struct ether_addresses *addresses = at(ctx, 0, sizeof(*addresses)), both;

	if (!addresses)
		return 0;
	both = *addresses;
	if (bpf_xdp_adjust_head(ctx, bytes))
		return 0;
	addresses = at(ctx, 0, sizeof(*addresses));
	if (!addresses)
		return 0;
	*addresses = both;
	return 1;
}

static __always_inline int put_tags(struct xdp_md *ctx, const struct vlan_tag *tags, __u32 count)
{
	struct vlan_tag *outer, *inner;

	if (!shift(ctx, count > 1 ? -(int)(2 * sizeof(*tags)) : -(int)sizeof(*tags)))
		return 0;
	outer = at(ctx, ETH_ADDRESSES, sizeof(*outer));
	if (!outer)
		return 0;
	*outer = tags[0];
	if (count < 2)
		return 1;
	inner = at(ctx, ETH_ADDRESSES + sizeof(*outer), sizeof(*inner));
	if (!inner)
		return 0;
	*inner = tags[1];
	return 1;
}

/*
 * read_tags reads a frame's tags. Those without a VLAN, which only tell a
 * priority, lead nowhere else (net/core/dev.c: __netif_receive_skb_core()). It
 * returns what stands behind them.
 */
static __always_inline __be16 read_tags(struct xdp_md *ctx, struct taken_tags *tags,
					struct vlan *vlan)
{
	const __be16 *type;
	__u32 known = 0;

	tags->count = 0;
	for (int i = 0; i < VLAN_TAGS; i++) {
		const struct vlan_tag *tag =
			at(ctx, ETH_ADDRESSES + i * sizeof(*tag), sizeof(*tag));
		__u16 id;

		if (!tag)
			return 0;
		if (!is_tag(tag->type))
			return tag->type;
		tags->tags[i] = *tag;
		tags->count++;
		id = bpf_ntohs(tag->control) & VLAN_ID;
		if (id && tag->type == bpf_htons(ETH_P_8021AD))
			id |= VLAN_SERVICE;
		if (id)
			vlan->tags[known++ & (VLAN_TAGS - 1)] = (enum vlan_bits)id;
	}
	type = at(ctx, ETH_ADDRESSES + sizeof(tags->tags), sizeof(*type));
	return type ? *type : 0;
}

/*
 * untag takes the tags off a frame that carries IP, if they are those of a VLAN
 * interface, and says by which it arrived; 0: the frame stays as it is.
 */
__noinline __u32 untag(struct xdp_md *ctx)
{
	struct vlan vlan = { .port = ctx->ingress_ifindex };
	struct taken_tags *tags = find_taken();
	__u32 arrival = vlan.port, *interface;
	__be16 type;

	if (!tags)
		return 0;
	type = read_tags(ctx, tags, &vlan);
	if (!tags->count || (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)))
		return 0;
	if (vlan.tags[0]) {
		interface = bpf_map_lookup_elem(&vlan_interfaces, &vlan);
		if (!interface)
			return 0;
		arrival = *interface;
	}
	if (!shift(ctx, tags->count > 1 ? 2 * sizeof(tags->tags[0]) : sizeof(tags->tags[0])))
		return 0;
	return arrival;
}

/* retag gives a frame back the tags that untag() took. */
__noinline int retag(struct xdp_md *ctx)
{
	const struct taken_tags *tags = find_taken();

	return tags && put_tags(ctx, tags->tags, tags->count);
}

static __always_inline struct vlan_tag wire_tag(enum vlan_bits bits)
{
	return (struct vlan_tag){
		.type = bits & VLAN_SERVICE ? bpf_htons(ETH_P_8021AD) : bpf_htons(ETH_P_8021Q),
		.control = bpf_htons(bits & VLAN_ID),
	};
}

/* send_tagged sends a frame by a VLAN interface. It returns what send_from() does. */
__noinline int send_tagged(struct xdp_md *ctx, __u32 ifindex)
{
	const struct vlan *vlan = bpf_map_lookup_elem(&vlans, &ifindex);
	struct vlan_tag tags[VLAN_TAGS];

	if (!vlan)
		return XDP_DROP;
	tags[0] = wire_tag(vlan->tags[0]);
	tags[1] = wire_tag(vlan->tags[1]);
	if (!put_tags(ctx, tags, vlan->tags[1] ? 2 : 1))
		return XDP_DROP;
	return send_from(ctx, vlan->port);
}

#endif
