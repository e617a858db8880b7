/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* NAT: the VIP becomes the real server's address on the way there, and is put back on the way to
 * the client. */
#ifndef LVSX_NAT_H
#define LVSX_NAT_H

#include "conn.h"
#include "crc.h"
#include "csum.h"
#include "packet.h"
#include "segment.h"
#include "types.h"

/* udp_checksum computes what a sender left at 0; include/net/udp.h: 0 goes out as 0xffff. */
static __noinline __u16 udp_checksum(struct xdp_md *ctx, const union addr *src,
				     const union addr *dst, __u32 offset, __u32 length)
{
	__u64 sum = csum_pseudo(src, dst, IPPROTO_UDP, length);
	__u16 csum = ~csum_fold(csum_bytes(ctx, offset, length, sum));

	return csum ? csum : 0xffff;
}

/*
 * replace_ipv4_and changes an address in a header, and returns what checksums over it gain. The
 * header's own gains what else was changed there, too.
 */
static __always_inline __u64 replace_ipv4_and(struct iphdr *ip, __be32 *addr, const union addr *to,
					      __u64 gained)
{
	const __be32 next = to_ipv4(to);
	__u64 change = csum_change32(*addr, next);

	ip->check = csum_apply(ip->check, change + gained);
	*addr = next;
	return change;
}

static __always_inline __u64 replace_ipv4(struct iphdr *ip, __be32 *addr, const union addr *to)
{
	return replace_ipv4_and(ip, addr, to, 0);
}

static __always_inline __u64 replace_ipv6(struct in6_addr *addr, const union addr *to)
{
	union addr from = from_ipv6(addr);

	to_ipv6(addr, to);
	return csum_change_addr(&from, to);
}

/* UDP knows no checksum of 0. */
static __always_inline __u16 apply_udp(__u16 csum, __u64 change)
{
	csum = csum_apply(csum, change);
	return csum ? csum : 0xffff;
}

static __always_inline void update_checksum(struct xdp_md *ctx, struct packet *pkt,
					    const union addr *src, const union addr *dst,
					    __u64 addrs, __be16 from_port, __be16 to_port)
{
	__u64 change = addrs + csum_change16(from_port, to_port);
	__u32 header = header_length(pkt);

	if (unlikely(pkt->flow.proto == IPPROTO_SCTP)) {
		if (from_port != to_port && !pkt->fragmented)
			renew_sctp(ctx, sizeof(struct ethhdr) + header, pkt->length - header,
				   pkt->sending == SENDING_BEHIND);
		return;
	}
	/* A datagram without a checksum gets one below, of all its bytes. */
	if (pkt->sending == SENDING_BEHIND && *pkt->check) {
		pkt->handover = (struct handover){
			.work = HANDOVER_MASQ,
			.proto = pkt->flow.proto,
			.check = (void *)pkt->check - (void *)pkt->eth,
			.change = csum_fold(addrs),
			.from_port = from_port,
			.to_port = to_port,
		};
		return;
	}
	if (pkt->flow.proto == IPPROTO_TCP)
		*pkt->check = csum_apply(*pkt->check, change);
	else if (likely(*pkt->check))
		*pkt->check = apply_udp(*pkt->check, change);
	else if (!pkt->fragmented) /* kernel: udp_dnat_handler() makes one, a checksum of 0 does not
				      stay */
		*pkt->check = udp_checksum(ctx, src, dst, sizeof(struct ethhdr) + header,
					   pkt->length - header);
}

/* They return what checksums over the address gain. */
static __always_inline __u64 replace_destination(struct packet *pkt, const union addr *to)
{
	return pkt->ipv6 ? replace_ipv6(&pkt->ip6->daddr, to)
			 : replace_ipv4(pkt->ip, &pkt->ip->daddr, to);
}

static __always_inline __u64 replace_source(struct packet *pkt, const union addr *to)
{
	return pkt->ipv6 ? replace_ipv6(&pkt->ip6->saddr, to)
			 : replace_ipv4(pkt->ip, &pkt->ip->saddr, to);
}

/* masquerade sends a request to the real server. */
static __always_inline void masquerade(struct xdp_md *ctx, struct packet *pkt,
				       const struct dest *dest, __be16 port)
{
	const struct flow *flow = &pkt->flow;
	struct ports *ports = pkt->l4;
	__u64 change = replace_destination(pkt, &dest->rip);

	ports->dest = port;
	update_checksum(ctx, pkt, &flow->src, &dest->rip, change, flow->port.dest, port);
}

/* unmasquerade makes a reply come from the VIP. */
static __always_inline void unmasquerade(struct xdp_md *ctx, struct packet *pkt,
					 const struct conn *conn)
{
	const struct flow *flow = &pkt->flow;
	struct ports *ports = pkt->l4;
	__u64 change = replace_source(pkt, &conn->vip);
	__be16 port = conn->vport;

	ports->source = port;
	/* To a checksum, one change of 16 bits is as good as two. */
	if (unlikely(settings.fronts))
		port = csum_fold(port + limit_segments(pkt));
	update_checksum(ctx, pkt, &conn->vip, &flow->dst, change, flow->port.source, port);
}

#endif
