/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From bytes to headers: the only place, with those that grow packets, that checks bounds. */
#ifndef LVSX_PACKET_H
#define LVSX_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* RFC 792. The kernel's <linux/icmp.h> needs a C library. */
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_HOST_UNREACH 1
#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4

struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 unused;
	__be16 mtu; /* of "fragmentation needed" */
};

/* <sys/socket.h> does, too. */
#define AF_INET 2
#define AF_INET6 10

#define IP_MF 0x2000
#define IP_DF 0x4000
#define IP_OFFSET 0x1fff

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct ports {
	__be16 source;
	__be16 dest;
};

/* One direction of a connection, as its packets say it. */
struct flow {
	union addr src;
	union addr dst;
	struct ports port;
	__u8 proto;
};

enum event {
	EVENT_SYN,
	EVENT_FIN,
	EVENT_ACK,
	EVENT_RST,
	EVENT_COUNT,
	EVENT_NONE = EVENT_COUNT, /* no flag at all: closes */
};

/* What the core takes from outside, so that tests can fix it. */
struct moment {
	__u32 now;  /* in ticks */
	__u32 dice; /* what the next throw shows, if fixed */
	__u8 fixed; /* 1: dice are not thrown */
};

/* A packet under way: its headers, and where it goes next. */
struct packet {
	struct ethhdr *eth;
	struct iphdr *ip;
	void *l4;
	void *end;
	struct flow flow;
	struct hop next; /* ifindex 0: nowhere */
	struct moment moment;
	__u16 mtu;	      /* what the way on can carry, if the packet is too big for it */
	__u16 *check;	      /* TCP's or UDP's checksum */
	__u16 length;	      /* of the IP packet, its header included */
	enum verdict verdict; /* at the end */
	enum state state;     /* the connection's, after the packet */
	struct handover handover;
	__u8 hands_over; /* sent by the tc program behind, not by XDP */
	__u8 syn;	 /* TCP's flag */
	__u8 event;	 /* enum event, of TCP */
};

/* roll throws dice. Fixed ones show a sequence that begins with what was given. */
static __always_inline __u32 roll(struct moment *moment)
{
	__u32 dice = moment->dice;

	if (!moment->fixed)
		return bpf_get_prandom_u32();
	moment->dice = dice * 747796405u + 2891336453u;
	return dice;
}

/*
 * Sources that no client has: this network, loopback, multicast, reserved and
 * broadcast (net/ipv4/fib_frontend.c and route.c: martian sources). One that is
 * also the destination is a LAND attack.
 */
static __always_inline int is_martian(__be32 src, __be32 dst)
{
	__u8 first = bpf_ntohl(src) >> 24;

	return first == 0 || first == 127 || first >= 224 || src == dst;
}

/*
 * parse fills pkt with an IPv4 packet's headers, or says why it is none of
 * ours. VERDICT_COUNT means: go on.
 */
static __always_inline enum verdict parse(struct xdp_md *ctx, struct packet *pkt)
{
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip;
	__u32 header;

	pkt->end = (void *)(long)ctx->data_end;
	pkt->eth = data;
	ip = pkt->ip = data + sizeof(*pkt->eth);
	if ((void *)(ip + 1) > pkt->end)
		return VERDICT_OTHER_PROTOCOL;
	if (pkt->eth->h_proto != bpf_htons(ETH_P_IP))
		return VERDICT_OTHER_PROTOCOL;

	header = ip->ihl * 4;
	pkt->length = bpf_ntohs(ip->tot_len);
	pkt->l4 = (void *)ip + header;
	if (ip->version != 4 || header < sizeof(*ip) || pkt->length < header)
		return VERDICT_MALFORMED;
	if (pkt->end - (void *)ip < pkt->length)
		return VERDICT_MALFORMED;

	pkt->flow.proto = ip->protocol;
	pkt->flow.src = from_ipv4(ip->saddr);
	pkt->flow.dst = from_ipv4(ip->daddr);
	return VERDICT_COUNT;
}

/* tcp_state_idx(): RST before SYN before FIN before ACK. */
static __always_inline enum event tcp_event(const struct tcphdr *tcp)
{
	if (tcp->rst)
		return EVENT_RST;
	if (tcp->syn)
		return EVENT_SYN;
	if (tcp->fin)
		return EVENT_FIN;
	if (tcp->ack)
		return EVENT_ACK;
	return EVENT_NONE;
}

static __always_inline int parse_tcp(struct packet *pkt, __u32 size)
{
	struct tcphdr *tcp = pkt->l4;

	if (size < sizeof(*tcp) || (void *)(tcp + 1) > pkt->end)
		return 0;
	pkt->flow.port.source = tcp->source;
	pkt->flow.port.dest = tcp->dest;
	pkt->check = &tcp->check;
	pkt->syn = tcp->syn;
	pkt->event = tcp_event(tcp);
	return 1;
}

static __always_inline int parse_udp(struct packet *pkt, __u32 size)
{
	struct udphdr *udp = pkt->l4;

	if (size < sizeof(*udp) || (void *)(udp + 1) > pkt->end)
		return 0;
	pkt->flow.port.source = udp->source;
	pkt->flow.port.dest = udp->dest;
	pkt->check = &udp->check;
	return 1;
}

/* parse_transport reads a TCP or UDP header, or says why it can't. VERDICT_COUNT: go on. */
static __always_inline enum verdict parse_transport(struct packet *pkt)
{
	__u32 size = pkt->length - pkt->ip->ihl * 4;
	int whole;

	if (pkt->ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return VERDICT_FRAGMENT;
	whole = pkt->flow.proto == IPPROTO_TCP ? parse_tcp(pkt, size) : parse_udp(pkt, size);
	return whole ? VERDICT_COUNT : VERDICT_MALFORMED;
}

#endif
