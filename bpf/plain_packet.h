/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which packets are plain (plain.h), and what is read of them. */
#ifndef LVSX_PLAIN_PACKET_H
#define LVSX_PLAIN_PACKET_H

#include "ether.h"
#include "interface.h"
#include "packet.h"
#include "types.h"

/* IPv4's first byte: version 4, five words of header. */
#define IPV4_WITHOUT_OPTIONS 0x45

/* open_plain looks at a frame's headers. TCP's has room in any frame, of which the shortest are
 * filled up. */
static __always_inline int open_plain(struct xdp_md *ctx, struct packet *pkt)
{
	open_frame(ctx, pkt);
	pkt->l4 = (void *)pkt->ip + (pkt->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (pkt->l4 + sizeof(struct tcphdr) > pkt->end)
		return 0;
	if (pkt->ipv6) {
		pkt->length = sizeof(struct ipv6hdr) + bpf_ntohs(pkt->ip6->payload_len);
		pkt->flow.proto = pkt->ip6->nexthdr;
	} else {
		pkt->length = bpf_ntohs(pkt->ip->tot_len);
		pkt->flow.proto = pkt->ip->protocol;
	}
	return 1;
}

/* Without options, and whole. */
static __always_inline int has_plain_ip(const struct packet *pkt)
{
	const __u8 *first = (const void *)pkt->ip;

	if (pkt->ipv6)
		return *first >> 4 == 6;
	return *first == IPV4_WITHOUT_OPTIONS &&
	       !(pkt->ip->frag_off & bpf_htons(IP_MF | IP_OFFSET));
}

static __always_inline void read_flow(struct packet *pkt)
{
	pkt->flow.src = pkt->ipv6 ? from_ipv6(&pkt->ip6->saddr) : from_ipv4(pkt->ip->saddr);
	pkt->flow.dst = pkt->ipv6 ? from_ipv6(&pkt->ip6->daddr) : from_ipv4(pkt->ip->daddr);
	*(bytes4 *)&pkt->flow.port = *(const bytes4 *)pkt->l4;
}

static __always_inline int read_plain(struct xdp_md *ctx, struct packet *pkt)
{
	if (!open_plain(ctx, pkt) || !has_plain_ip(pkt) || hop_limit(pkt) <= 1 ||
	    (pkt->flow.proto != IPPROTO_TCP && pkt->flow.proto != IPPROTO_UDP))
		return 0;
	if (pkt->length < header_length(pkt) + sizeof(struct tcphdr) ||
	    pkt->end - (void *)pkt->ip < pkt->length)
		return 0;
	read_flow(pkt);
	return !is_martian(pkt);
}

/* What XDP can send by itself, and for this machine. */
static __always_inline int came_plainly(const struct packet *pkt, const struct interface *from,
					__u32 ifindex)
{
	return is_without(from, ifindex, INTERFACE_HANDS_OVER | INTERFACE_LOCAL) &&
	       is_same_mac(pkt->eth->h_dest, from->mac);
}

/* Bits of TCP's flags. */
#define TCP_FIN_SYN_RST 0x07
#define TCP_SYN 0x02
#define TCP_ACK 0x10

static __always_inline __u8 flags_of(const struct packet *pkt)
{
	return *(const __u8 *)(pkt->l4 + 13) & (TCP_FIN_SYN_RST | TCP_ACK);
}

/* In the middle of a connection: none of TCP's flags but that it acknowledges. */
static __always_inline int is_midstream(const struct packet *pkt)
{
	return pkt->flow.proto == IPPROTO_UDP || flags_of(pkt) == TCP_ACK;
}

/* TCP's first packet. Of UDP any is, if there is no connection. */
static __always_inline int is_opening(const struct packet *pkt)
{
	return pkt->flow.proto == IPPROTO_TCP && flags_of(pkt) == TCP_SYN;
}

#endif
