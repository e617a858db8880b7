/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TUN: the packet, unchanged, inside one for the real server (RFC 2003, RFC
 * 2473, RFC 4213; GRE: RFC 2784).
 */
#ifndef LVSX_TUNNEL_H
#define LVSX_TUNNEL_H

#include "csum.h"
#include "packet.h"
#include "shim.h"
#include "types.h"

/* What an outer header says of the packet inside. */
struct inner {
	__u16 length; /* of all that follows the header */
	__u8 tos;
	__u8 hop_limit; /* already lessened */
	__u8 proto;	/* that it is for the outer header */
	__u8 dont_fragment;
};

/* pmtu_disc 0: tunnels carry what is too big for them in fragments, whatever its sender says. */
static __always_inline int ignores_df(const struct packet *pkt)
{
	return !pkt->ipv6 && !READ_ONCE(settings.switches.pmtu_disc);
}

static __always_inline struct inner inner_ipv4(const struct iphdr *ip)
{
	return (struct inner){
		.length = bpf_ntohs(ip->tot_len),
		.tos = ip->tos,
		.hop_limit = ip->ttl,
		.proto = IPPROTO_IPIP,
		.dont_fragment = !!(ip->frag_off & bpf_htons(IP_DF)),
	};
}

static __always_inline __u8 traffic_class(const struct ipv6hdr *ip6)
{
	return ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
}

static __always_inline struct inner inner_ipv6(const struct ipv6hdr *ip6)
{
	return (struct inner){
		.length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len),
		.tos = traffic_class(ip6),
		.hop_limit = ip6->hop_limit,
		.proto = IPPROTO_IPV6,
	};
}

/*
 * The outer TOS: the inner one, but a mark of congestion becomes ECT(0) so that
 * it is not counted twice (include/net/inet_ecn.h: INET_ECN_encapsulate()).
 */
static __always_inline __u8 outer_tos(__u8 tos)
{
	return (tos & 3) == 3 ? (tos & ~3) | 2 : tos;
}

/* What a real server's outer header adds to a packet. */
static __always_inline __u32 outer_length(const union addr *rip)
{
	return is_ipv4(rip) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline __u32 tunnel_overhead(const struct dest *dest)
{
	return outer_length(&dest->rip) + shim_length(dest->tunnel);
}

/*
 * In whole words: of single bytes clang makes and writes one after the other. Without DF, the
 * inner one's, the header needs an id of its own: either is its second word.
 */
static __always_inline void write_outer_ipv4(struct iphdr *outer, const struct inner *inner,
					     const struct dest *dest, __be32 fragment)
{
	const __be32 from = to_ipv4(&dest->tunnel_source), to = to_ipv4(&dest->rip);
	__be32 *words = (void *)outer;
	__be32 version = bpf_htonl(4 << 28 | 5 << 24) | (__u32)outer_tos(inner->tos) << 8 |
			 (__u32)bpf_htons(inner->length + sizeof(*outer)) << 16;
	__be32 lifetime = inner->hop_limit | (__u32)inner->proto << 8;
	__u64 sum = (__u64)version + fragment + lifetime + from + to;

	words[0] = version;
	words[1] = fragment;
	words[2] = lifetime | (__u32)(__u16)~csum_fold(sum) << 16;
	words[3] = from;
	words[4] = to;
}

static __always_inline void write_outer_ipv6(struct ipv6hdr *outer, const struct inner *inner,
					     const struct dest *dest)
{
	__be32 *words = (void *)outer;

	words[0] = bpf_htonl(6u << 28 | (__u32)outer_tos(inner->tos) << 20);
	words[1] = bpf_htonl((__u32)inner->length << 16 | inner->proto << 8 | inner->hop_limit);
	to_ipv6(&outer->saddr, &dest->tunnel_source);
	to_ipv6(&outer->daddr, &dest->rip);
}

/* What the packet tells its tunnel. */
static __always_inline struct inner inner_of(const struct packet *pkt)
{
	struct inner inner = pkt->ipv6 ? inner_ipv6(pkt->ip6) : inner_ipv4(pkt->ip);

	if (ignores_df(pkt))
		inner.dont_fragment = 0;
	return inner;
}

/* grow makes room between Ethernet's header and the rest. */
static __always_inline int grow(struct xdp_md *ctx, struct packet *pkt, __u32 size)
{
	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return 0;
	pkt->eth = (void *)(long)ctx->data;
	pkt->end = (void *)(long)ctx->data_end;
	pkt->ip = (void *)(pkt->eth + 1);
	return (void *)pkt->ip + size <= pkt->end;
}

/*
 * new_id is the id of an outer header that may be fragmented. By an odd factor, 65536 packets in
 * turn have as many ids; it is each CPU's own, and where they begin nobody knows.
 */
static __always_inline __u16 new_id(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return verdicts[cpu & (VERDICT_CPUS - 1)].of[VERDICT_TUNNEL] * (0x9e37 + 2 * cpu) +
	       hash_seed[1];
}

static __always_inline int put_ipv4(struct xdp_md *ctx, struct packet *pkt, const struct dest *dest,
				    const struct inner *inner, __be32 fragment)
{
	if (!grow(ctx, pkt, sizeof(*pkt->ip)))
		return 0;
	write_outer_ipv4(pkt->ip, inner, dest, fragment);
	set_ether_type(pkt->eth, bpf_htons(ETH_P_IP));
	return 1;
}

static __always_inline int put_ipv6(struct xdp_md *ctx, struct packet *pkt, const struct dest *dest,
				    const struct inner *inner)
{
	if (!grow(ctx, pkt, sizeof(*pkt->ip6)))
		return 0;
	write_outer_ipv6(pkt->ip6, inner, dest);
	set_ether_type(pkt->eth, bpf_htons(ETH_P_IPV6));
	return 1;
}

/* Not inlined: IPIP in IPv4 needs nothing of it. */
static __noinline int put_ipv6_apart(struct xdp_md *ctx, struct packet *pkt,
				     const struct dest *dest, const struct inner *inner)
{
	return put_ipv6(ctx, pkt, dest, inner);
}

static __always_inline int put_gre(struct xdp_md *ctx, struct packet *pkt, const struct dest *dest,
				   struct inner *inner)
{
	struct gre_shim gre = gre_of(inner->proto, dest->tunnel);
	struct gre_shim *place;

	if (!grow(ctx, pkt, shim_length(dest->tunnel)))
		return 0;
	place = (void *)pkt->ip;
	if ((void *)(place + 1) > pkt->end)
		return 0;
	place->gre = gre.gre;
	inner->length += shim_length(dest->tunnel);
	inner->proto = IPPROTO_GRE;
	if (dest->tunnel & TUNNEL_CSUM) {
		place->check = place->zero = 0;
		place->check = ~csum_fold(csum_bytes(ctx, sizeof(struct ethhdr), inner->length, 0));
	}
	return 1;
}

static __always_inline int put_gue(struct xdp_md *ctx, struct packet *pkt, const struct dest *dest,
				   struct inner *inner)
{
	__u16 length = inner->length + sizeof(struct gue_shim);
	struct gue_shim gue =
		gue_of(inner->proto, length, flow_port(&pkt->flow), dest->tunnel_port);
	struct gue_shim *place;
	__u16 check;

	if (!grow(ctx, pkt, sizeof(gue)))
		return 0;
	place = (void *)pkt->ip;
	if ((void *)(place + 1) > pkt->end)
		return 0;
	*place = gue;
	inner->length = length;
	inner->proto = IPPROTO_UDP;
	if (dest->tunnel & (TUNNEL_CSUM | TUNNEL_REMCSUM)) {
		__u64 sum = csum_pseudo(&dest->tunnel_source, &dest->rip, IPPROTO_UDP, length);

		check = ~csum_fold(csum_bytes(ctx, sizeof(struct ethhdr), length, sum));
		place->udp.check = check ? check : 0xffff;
	}
	return 1;
}

/* GRE and GUE. Not inlined: IPIP needs nothing of it. */
static __noinline int put_shim(struct xdp_md *ctx, struct packet *pkt, const struct dest *dest,
			       struct inner *inner)
{
	return tunnel_type(dest->tunnel) == TUNNEL_GRE ? put_gre(ctx, pkt, dest, inner)
						       : put_gue(ctx, pkt, dest, inner);
}

static __always_inline int encapsulate(struct xdp_md *ctx, struct packet *pkt,
				       const struct dest *dest, __u32 key)
{
	__be32 fragment = bpf_htonl(IP_DF);
	struct inner inner;

	if (pkt->sending == SENDING_BEHIND) {
		pkt->handover = (struct handover){
			.work = HANDOVER_TUNNEL,
			.dest = key,
			.may_fragment = ignores_df(pkt),
			.from_port = dest->tunnel ? flow_port(&pkt->flow) : 0,
		};
		return 1;
	}
	inner = inner_of(pkt);
	if (unlikely(tunnel_type(dest->tunnel) != TUNNEL_IPIP) && !put_shim(ctx, pkt, dest, &inner))
		return 0;
	if (!is_ipv4(&dest->rip))
		return put_ipv6_apart(ctx, pkt, dest, &inner);
	if (!inner.dont_fragment)
		fragment = pkt->moment.fixed ? (__u16)roll(&pkt->moment) : new_id();
	return put_ipv4(ctx, pkt, dest, &inner, fragment);
}

#endif
