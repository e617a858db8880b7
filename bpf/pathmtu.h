/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the path of a tunnel can carry, where related.h tells nobody: IPVS itself
 * follows errors about IPv4 in IPv4 alone. Of others the kernel's routing learns
 * by what handles the outer protocol: GRE in IPv4 (net/ipv4/ip_gre.c: gre_err())
 * and UDP, in which GUE is, in both (net/ipv4/udp.c: __udp4_lib_err(),
 * net/ipv6/udp.c: __udp6_lib_err_encap()).
 */
#ifndef LVSX_PATHMTU_H
#define LVSX_PATHMTU_H

#include "conn.h"
#include "csum.h"
#include "frame.h"
#include "maps.h"
#include "packet.h"
#include "shim.h"
#include "tunnel.h"
#include "types.h"

/* net.ipv4.route.min_pmtu: what a forged error can push a path down to. */
#define MIN_PMTU 552

/* What the tunnel's path can carry becomes known; the director forgets it in time. */
static __always_inline void learn_mtu(struct dest *dest, __u16 mtu)
{
	if (mtu < MIN_PMTU)
		mtu = MIN_PMTU;
	if (mtu < dest->mtu)
		dest->mtu = mtu;
}

/* The headers of a tunnel packet as an error quotes them. */
struct quoted_outer {
	union addr from;
	union addr to;
	__u32 place; /* in the frame of what is being read */
	enum tunnel type;
	__u8 protocol; /* of what follows the outer header */
	__u8 ipv6;     /* what is inside is */
	__be16 port;   /* of GUE */
};

static __always_inline int read_quoted_ip(struct xdp_md *ctx, int ipv6, struct quoted_outer *outer)
{
	const struct ipv6hdr *ip6 = at(ctx, outer->place, sizeof(*ip6));
	const struct iphdr *ip = at(ctx, outer->place, sizeof(*ip));

	if (ipv6) {
		if (!ip6 || ip6->version != 6)
			return 0;
		outer->from = from_ipv6(&ip6->saddr);
		outer->to = from_ipv6(&ip6->daddr);
		outer->protocol = ip6->nexthdr;
		outer->place += sizeof(*ip6);
		return 1;
	}
	if (!ip || ip->version != 4 || ip->ihl != 5)
		return 0;
	outer->from = from_ipv4(ip->saddr);
	outer->to = from_ipv4(ip->daddr);
	outer->protocol = ip->protocol;
	outer->place += sizeof(*ip);
	return 1;
}

static __always_inline int read_quoted_gre(struct xdp_md *ctx, struct quoted_outer *outer)
{
	const struct gre *gre = at(ctx, outer->place, sizeof(*gre));

	if (!gre || gre->flags & ~bpf_htons(GRE_CHECKSUM))
		return 0;
	outer->type = TUNNEL_GRE;
	outer->ipv6 = gre->protocol == bpf_htons(ETH_P_IPV6);
	outer->place += gre->flags ? sizeof(struct gre_shim) : sizeof(*gre);
	return outer->ipv6 || gre->protocol == bpf_htons(ETH_P_IP);
}

static __always_inline int read_quoted_gue(struct xdp_md *ctx, struct quoted_outer *outer)
{
	const struct gue_shim *shim = at(ctx, outer->place, sizeof(*shim));

	if (!shim || shim->gue.lead || shim->gue.flags)
		return 0;
	outer->type = TUNNEL_GUE;
	outer->port = shim->udp.dest;
	outer->ipv6 = shim->gue.protocol == IPPROTO_IPV6;
	outer->place += sizeof(*shim);
	return outer->ipv6 || shim->gue.protocol == IPPROTO_IPIP;
}

static __always_inline int read_quoted_shim(struct xdp_md *ctx, int ipv6,
					    struct quoted_outer *outer)
{
	if (outer->protocol == IPPROTO_UDP)
		return read_quoted_gue(ctx, outer);
	return outer->protocol == IPPROTO_GRE && !ipv6 && read_quoted_gre(ctx, outer);
}

/* read_quoted_addresses reads the packet inside up to its ports. */
static __always_inline int read_quoted_addresses(struct xdp_md *ctx, struct quoted_outer *outer,
						 struct flow *flow)
{
	const struct ipv6hdr *ip6 = at(ctx, outer->place, sizeof(*ip6));
	const struct iphdr *ip = at(ctx, outer->place, sizeof(*ip));

	if (outer->ipv6) {
		if (!ip6 || ip6->version != 6)
			return 0;
		flow->src = from_ipv6(&ip6->saddr);
		flow->dst = from_ipv6(&ip6->daddr);
		flow->proto = ip6->nexthdr;
		outer->place += sizeof(*ip6);
		return 1;
	}
	if (!ip || ip->version != 4)
		return 0;
	flow->src = from_ipv4(ip->saddr);
	flow->dst = from_ipv4(ip->daddr);
	flow->proto = ip->protocol;
	outer->place += ip->ihl * 4;
	return 1;
}

static __always_inline int read_quoted_flow(struct xdp_md *ctx, struct quoted_outer *outer,
					    struct flow *flow)
{
	const struct ports *ports;

	if (!read_quoted_addresses(ctx, outer, flow))
		return 0;
	ports = at(ctx, outer->place, sizeof(*ports));
	if (!ports)
		return 0;
	flow->port = *ports;
	return 1;
}

static __always_inline int leads_to(const struct quoted_outer *outer, const struct dest *dest)
{
	return is_equal(&dest->rip, &outer->to) && is_equal(&dest->tunnel_source, &outer->from) &&
	       tunnel_type(dest->tunnel) == outer->type &&
	       (outer->type != TUNNEL_GUE || dest->tunnel_port == outer->port);
}

/* Whether an error says how large packets may be: only as many bits of it are looked at. */
static __always_inline int tells_mtu(const struct packet *pkt, const struct icmphdr *icmp)
{
	if (pkt->ipv6)
		return icmp->type == ICMPV6_PKT_TOOBIG && !icmp->unused;
	return icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED;
}

static __always_inline int is_intact(struct xdp_md *ctx, const struct packet *pkt)
{
	__u32 header = header_length(pkt), size = pkt->length - header;
	__u64 sum = 0;

	if (pkt->ipv6) {
		union addr src = from_ipv6(&pkt->ip6->saddr), dst = from_ipv6(&pkt->ip6->daddr);

		sum = csum_pseudo(&src, &dst, IPPROTO_ICMPV6, size);
	}
	return csum_fold(csum_bytes(ctx, sizeof(struct ethhdr) + header, size, sum)) == 0xffff;
}

/* What an error says, for who learns from it. */
struct path_news {
	struct flow flow; /* the error's own, then that of the connection */
	__u32 now;
	__u32 place; /* in the frame, of the quoted packet */
	__u16 mtu;
	__u8 ipv6; /* the error is */
};

/* Global, so that the verifier looks through it once. */
__noinline int learn_from(struct xdp_md *ctx, struct path_news *news)
{
	struct found found = {};
	struct dest *dest;
	__u32 key;

	if (!news)
		return 0;

	struct quoted_outer outer = { .place = news->place };

	if (!read_quoted_ip(ctx, news->ipv6, &outer) || !is_equal(&outer.from, &news->flow.dst) ||
	    !read_quoted_shim(ctx, news->ipv6, &outer) ||
	    !read_quoted_flow(ctx, &outer, &news->flow))
		return 0;
	if (!find_anywhere(&news->flow, REQUEST, news->now, &found))
		return 0;
	key = found.dest;
	dest = dest_by(key);
	if (!dest || forwarding_of(found.conn) != FORWARDING_TUNNEL || !leads_to(&outer, dest))
		return 0;
	learn_mtu(dest, news->ipv6 && news->mtu < IPV6_MIN_MTU ? IPV6_MIN_MTU : news->mtu);
	return 1;
}

/*
 * learn_path learns from an error about a tunnel packet, if it is about one of a
 * connection that there is. The error itself is the kernel's.
 */
static __noinline void learn_path(struct xdp_md *ctx, const struct packet *pkt)
{
	const struct icmphdr *icmp = pkt->l4;
	struct path_news news = {
		.flow = pkt->flow,
		.now = pkt->moment.now,
		.place = sizeof(*pkt->eth) + header_length(pkt) + sizeof(*icmp),
		.mtu = bpf_ntohs(icmp->mtu),
		.ipv6 = pkt->ipv6,
	};

	if (is_intact(ctx, pkt))
		learn_from(ctx, &news);
}

#endif
