/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which packets are plain (plain.h), and what is read of them. */
#ifndef LVSX_PLAIN_PACKET_H
#define LVSX_PLAIN_PACKET_H

#include "ether.h"
#include "interface.h"
#include "packet.h"
#include "types.h"

/*
 * The first eight bytes of an IPv4 header, of which these bits tell that it is plain: version 4,
 * five words long; neither more fragments nor an offset.
 */
#define IPV4_FIRST_BYTE 0xffULL
#define IPV4_FRAGMENT ((__u64)bpf_htons(IP_MF | IP_OFFSET) << 48)
#define IPV4_PLAIN 0x45

static __always_inline void read_ip(struct packet *pkt)
{
	if (pkt->ipv6) {
		pkt->length = sizeof(struct ipv6hdr) + bpf_ntohs(pkt->ip6->payload_len);
		pkt->flow.proto = pkt->ip6->nexthdr;
	} else {
		pkt->length = bpf_ntohs(pkt->ip->tot_len);
		pkt->flow.proto = pkt->ip->protocol;
	}
}

/* open_plain looks at a frame's headers. TCP's has room in any frame, of which the shortest are
 * filled up. */
static __always_inline int open_plain(struct xdp_md *ctx, struct packet *pkt)
{
	open_frame(ctx, pkt);
	pkt->l4 = (void *)pkt->ip + (pkt->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (pkt->l4 + sizeof(struct tcphdr) > pkt->end)
		return 0;
	read_ip(pkt);
	return 1;
}

/* Without options, and whole. */
static __always_inline int has_plain_ip(const struct packet *pkt)
{
	if (pkt->ipv6)
		return *(const __u8 *)pkt->ip6 >> 4 == 6;
	return (*(const bytes8 *)pkt->ip & (IPV4_FIRST_BYTE | IPV4_FRAGMENT)) == IPV4_PLAIN;
}

static __always_inline void read_flow(struct packet *pkt)
{
	pkt->flow.src = pkt->ipv6 ? from_ipv6(&pkt->ip6->saddr) : from_ipv4(pkt->ip->saddr);
	pkt->flow.dst = pkt->ipv6 ? from_ipv6(&pkt->ip6->daddr) : from_ipv4(pkt->ip->daddr);
	*(bytes4 *)&pkt->flow.port = *(const bytes4 *)pkt->l4;
}

/*
 * reread reads a packet anew, which the compiler else keeps on the stack meanwhile: that takes
 * a write and a read.
 */
static __always_inline void reread(struct packet *pkt)
{
	asm volatile("" : "+r"(pkt->eth));
	pkt->ip = (void *)(pkt->eth + 1);
	pkt->l4 = (void *)pkt->ip + (pkt->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	read_ip(pkt);
	read_flow(pkt);
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
	return !(difference_without(from, ifindex, INTERFACE_HANDS_OVER | INTERFACE_LOCAL) |
		 mac_difference(pkt->eth->h_dest, from->mac));
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

/* What a life has of the state that such a packet leaves a connection in. */
#define SETTLED_MASK (LIFE_STATE_MASK << LIFE_STATE_SHIFT | LIFE_CONFIRMED)
#define SETTLED_TCP (STATE_ESTABLISHED << LIFE_STATE_SHIFT)
#define SETTLED_UDP (STATE_UDP << LIFE_STATE_SHIFT | LIFE_CONFIRMED)

static __always_inline __u32 settled_by(const struct packet *pkt)
{
	return pkt->flow.proto == IPPROTO_UDP ? SETTLED_UDP : SETTLED_TCP;
}

/* TCP's first packet. Of UDP any is, if there is no connection. */
static __always_inline int is_opening(const struct packet *pkt)
{
	return pkt->flow.proto == IPPROTO_TCP && flags_of(pkt) == TCP_SYN;
}

#endif
