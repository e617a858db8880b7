/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a client sends goes through the tunnel, so its segments have to leave
 * room for the tunnel's headers. The one who can tell it is the real server, in
 * the MSS option of its SYN+ACK (RFC 9293, section 3.7.1), which goes past the
 * director. Without it all depends on ICMP errors finding their way to clients.
 */
#ifndef LVSX_CLAMP_H
#define LVSX_CLAMP_H

#include <linux/pkt_cls.h>

#include "decap.h"

#define TCPOPT_END 0
#define TCPOPT_NOP 1
#define TCPOPT_MSS 2
#define TCPOPT_MSS_SIZE 4

/* A power of two that holds a TCP header, for the verifier. */
#define TCP_HEADER_ROOM 64

struct tcp_options {
	__u8 bytes[TCP_HEADER_ROOM]; /* of the TCP header, from its start */
	__u32 size;
	__u32 place; /* of the header, in the frame */
};

/* find_mss returns where in the header the option of four bytes stands, 0: nowhere. */
static __always_inline __u32 find_mss(const struct tcp_options *tcp)
{
	__u32 i = sizeof(struct tcphdr);

	for (int n = 0; n < TCP_HEADER_ROOM - (int)sizeof(struct tcphdr); n++) {
		__u8 kind, size;

		if (i + TCPOPT_MSS_SIZE > tcp->size)
			return 0;
		kind = tcp->bytes[i & (TCP_HEADER_ROOM - 1)];
		size = tcp->bytes[(i + 1) & (TCP_HEADER_ROOM - 1)];
		if (kind == TCPOPT_END)
			return 0;
		if (kind == TCPOPT_MSS && size == TCPOPT_MSS_SIZE)
			return i;
		i += kind == TCPOPT_NOP ? 1 : size;
		if (kind != TCPOPT_NOP && !size)
			return 0;
	}
	return 0;
}

static __always_inline void lower_mss(struct __sk_buff *skb, const struct tcp_options *tcp,
				      __u16 largest)
{
	__u32 option = find_mss(tcp);
	__u32 value = option + 2;
	__be16 from, to = bpf_htons(largest);
	bool odd = option & 1;

	if (!option)
		return;
	from = tcp->bytes[value & (TCP_HEADER_ROOM - 1)] |
	       tcp->bytes[(value + 1) & (TCP_HEADER_ROOM - 1)] << 8;
	if (bpf_ntohs(from) <= largest)
		return;
	bpf_skb_store_bytes(skb, tcp->place + value, &to, sizeof(to), 0);
	/* The checksum is of words: behind an odd number of bytes the value's halves lie in two. */
	bpf_l4_csum_replace(skb, tcp->place + offsetof(struct tcphdr, check),
			    odd ? __builtin_bswap16(from) : from, odd ? __builtin_bswap16(to) : to,
			    sizeof(to));
}

/* read_source returns where the TCP header stands, and who sends it; 0: it is none. */
static __always_inline __u32 read_source(struct __sk_buff *skb, union addr *source)
{
	struct ipv6hdr ip6;
	struct iphdr ip;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)) ||
		    ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(0x1fff))
			return 0;
		*source = from_ipv4(ip.saddr);
		return sizeof(struct ethhdr) + ip.ihl * 4;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip6, sizeof(ip6)) ||
		    ip6.nexthdr != IPPROTO_TCP)
			return 0;
		*source = from_ipv6(&ip6.saddr);
		return sizeof(struct ethhdr) + sizeof(ip6);
	}
	return 0;
}

static __always_inline int read_options(struct __sk_buff *skb, struct tcp_options *tcp)
{
	struct tcphdr header;

	if (bpf_skb_load_bytes(skb, tcp->place, &header, sizeof(header)) || !header.syn)
		return 0;
	tcp->size = header.doff * 4;
	if (tcp->size <= sizeof(header) || tcp->size >= TCP_HEADER_ROOM)
		return 0;
	return !bpf_skb_load_bytes(skb, tcp->place, tcp->bytes, tcp->size);
}

static __always_inline void clamp_segments(struct __sk_buff *skb)
{
	struct tcp_options tcp = {};
	union addr source;
	__u16 *largest;

	tcp.place = read_source(skb, &source);
	if (!tcp.place || !read_options(skb, &tcp))
		return;
	largest = bpf_map_lookup_elem(&vips, &source);
	if (largest && *largest)
		lower_mss(skb, &tcp, *largest);
}

#endif
