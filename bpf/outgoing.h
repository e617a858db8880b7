/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From bytes to headers, as in packet.h, of a packet that a process of the director sends. */
#ifndef LVSX_OUTGOING_H
#define LVSX_OUTGOING_H

#include "chunk.h"
#include "extension.h"
#include "packet.h"
#include "types.h"

/* A packet that a process of the director sends. */
struct outgoing {
	struct flow flow;
	__u32 place;  /* of the transport header in the frame */
	__be32 id;    /* of a fragment's packet */
	__u16 offset; /* of a fragment, in bytes */
	__u8 event;   /* as in struct packet */
	__u8 fragmented;
	__u8 overheard; /* it is of an FTP control connection: director() minds what is said */
};

/* read_fragment_header reads what the stack puts behind its IPv6 header, and nowhere else. */
static __always_inline void read_fragment_header(const struct __sk_buff *skb, struct outgoing *out)
{
	struct fragment_header header;

	if (out->flow.proto != IPPROTO_FRAGMENT ||
	    bpf_skb_load_bytes(skb, out->place, &header, sizeof(header)))
		return;
	out->flow.proto = header.next;
	out->place += sizeof(header);
	out->fragmented = 1;
	out->offset = bpf_ntohs(header.offset) & ~7;
	out->id = header.id;
}

static __always_inline int read_headers(const struct __sk_buff *skb, struct outgoing *out)
{
	void *end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data + sizeof(struct ethhdr);
	const struct ipv6hdr *ip6 = data;
	const struct iphdr *ip = data;

	if (skb->protocol == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end) {
		out->flow.src = from_ipv4(ip->saddr);
		out->flow.dst = from_ipv4(ip->daddr);
		out->flow.proto = ip->protocol;
		out->place = sizeof(struct ethhdr) + ip->ihl * 4;
		out->fragmented = !!(ip->frag_off & bpf_htons(IP_MF | IP_OFFSET));
		out->offset = (bpf_ntohs(ip->frag_off) & IP_OFFSET) * 8;
		out->id = ip->id;
		return 1;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		out->flow.src = from_ipv6(&ip6->saddr);
		out->flow.dst = from_ipv6(&ip6->daddr);
		out->flow.proto = ip6->nexthdr;
		out->place = sizeof(struct ethhdr) + sizeof(*ip6);
		read_fragment_header(skb, out);
		return 1;
	}
	return 0;
}

/* read_sctp_event is chunk.h: sctp_event(). */
static __always_inline enum sctp_event read_sctp_event(struct __sk_buff *skb, __u32 place)
{
	struct sctp_chunk chunk, next;
	enum sctp_event event;
	__u32 padded;

	place += sizeof(struct sctp_header);
	if (bpf_skb_load_bytes(skb, place, &chunk, sizeof(chunk)))
		return SCTP_UNREADABLE;
	event = event_of(&chunk);
	if (!is_cookie(event))
		return event;
	padded = padded_length(&chunk, skb->len - place);
	return padded && !bpf_skb_load_bytes(skb, place + padded, &next, sizeof(next)) &&
			       event_of(&next) == SCTP_ABORT
		       ? SCTP_COOKIE_AND_ABORT
		       : event;
}

/*
 * read_transport reads what a packet of a protocol that is balanced has behind its IP
 * header. Later fragments have nothing there.
 */
static __always_inline int read_transport(struct __sk_buff *skb, struct outgoing *out)
{
	struct tcphdr tcp;

	if (out->offset)
		return 0;
	if (out->flow.proto == IPPROTO_SCTP)
		out->event = read_sctp_event(skb, out->place);
	if (out->flow.proto == IPPROTO_UDP || out->flow.proto == IPPROTO_SCTP)
		return !bpf_skb_load_bytes(skb, out->place, &out->flow.port,
					   sizeof(out->flow.port));
	if (out->flow.proto != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, out->place, &tcp, sizeof(tcp)))
		return 0;
	out->flow.port.source = tcp.source;
	out->flow.port.dest = tcp.dest;
	out->event = tcp_event(&tcp);
	return 1;
}

/* is_error tells whether it is an ICMP error. */
static __always_inline int is_error(const struct __sk_buff *skb, const struct outgoing *out)
{
	const int ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	__u8 type;

	if (out->fragmented || out->flow.proto != (ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    bpf_skb_load_bytes(skb, out->place, &type, sizeof(type)))
		return 0;
	return is_icmp_error(ipv6, type);
}

#endif
