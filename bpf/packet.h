/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From bytes to headers: the only place, with those that grow packets, that checks bounds. */
#ifndef LVSX_PACKET_H
#define LVSX_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "chunk.h"
#include "ether.h"
#include "extension.h"
#include "maps.h"
#include "types.h"
#include "vlan.h"

/* RFC 792. The kernel's <linux/icmp.h> needs a C library. */
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_HOST_UNREACH 1
#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4

/* RFC 4443. */
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PKT_TOOBIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_ERRORS_END 128 /* lower types are errors */
#define ICMPV6_ADDR_UNREACH 3
#define ICMPV6_PORT_UNREACH 4

/* Of both versions. */
struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 unused;
	__be16 mtu; /* of "fragmentation needed" and "packet too big" */
};

/*
 * is_icmp_error tells whether an ICMP packet is an error, which follows the packet that
 * it quotes. Of IPv4 these are the types that IPVS knows (ip_vs_core.c: ip_vs_in_icmp(),
 * ip_vs_out_icmp()).
 */
static __always_inline int is_icmp_error(__u8 ipv6, __u8 type)
{
	if (ipv6)
		return type < ICMPV6_ERRORS_END;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH ||
	       type == ICMP_TIME_EXCEEDED;
}

/* <sys/socket.h> does, too. */
#define AF_INET 2
#define AF_INET6 10

#define IPV6_MIN_MTU 1280 /* RFC 8200, section 5 */

#define IP_MF 0x2000
#define IP_DF 0x4000
#define IP_OFFSET 0x1fff

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

/* Who sends a packet. */
enum sending {
	SENDING_XDP,
	SENDING_BEHIND, /* the tc program behind XDP, which also finishes it */
	SENDING_SPLIT,	/* likewise, what XDP has finished, in fragments */
} __attribute__((packed));

/* A packet under way: its headers, and where it goes next. */
struct packet {
	struct ethhdr *eth;
	union {
		struct iphdr *ip;
		struct ipv6hdr *ip6;
	};
	/* Which of the two it is; nothing else tells families apart. So wide for the verifier,
	 * which forgets smaller constants. */
	__u64 ipv6;
	void *l4;
	void *end;
	struct flow flow;
	__u16 *check;	 /* TCP's or UDP's checksum */
	struct hop next; /* ifindex 0: nowhere */
	struct handover handover;
	struct moment moment;
	__u16 mtu;    /* what the way on can carry, if the packet is too big for it */
	__u16 length; /* of the IP packet, its headers included */
	__u8 state;   /* enum state, the connection's after the packet */
	enum sending sending;
	__u8 syn;	       /* TCP's flag, or an SCTP INIT */
	__u8 event;	       /* enum event of TCP, enum sctp_event of SCTP */
	__u16 fragmented;      /* not 0: it is a fragment; without a branch, for the verifier */
	__u16 fragment_offset; /* in bytes */
	__be32 fragment_id;
	__u8 cut;      /* to a RST; cuts says how */
	__u8 untagged; /* its VLAN tags were taken off */
	__u16 arrival; /* the interface by which it came, of VLANs theirs: low bits of its ifindex
			*/
};

static __always_inline struct moment present(void)
{
	const __u32 shift = clock_shift;

	if (shift == CLOCK_STANDS)
		return (struct moment){ .now = test.now, .dice = test.dice, .fixed = 1 };
	return (struct moment){ .now = bpf_jiffies64() >> shift };
}

/* roll throws dice. Fixed ones show a sequence that begins with what was given. */
static __always_inline __u32 roll(struct moment *moment)
{
	__u32 dice = moment->dice;

	if (!moment->fixed)
		return bpf_get_prandom_u32();
	moment->dice = dice * 747796405u + 2891336453u;
	return dice;
}

/* Of this network, loopback, multicast, reserved or broadcast. */
static __always_inline int is_martian_ipv4(const union addr *addr)
{
	__be32 word = to_ipv4(addr);
	__u32 first = *(const __u8 *)&word;

	return first == 127 || first - 1 >= 223; /* 0 is, too */
}

/*
 * Unspecified, loopback or multicast; or with IPv4 in it, which on the wire
 * nobody may have, and which would pass for the IPv4 address here.
 */
static __always_inline int is_martian_ipv6(const union addr *addr)
{
	return addr->bytes[0] == 0xff ||
	       (!addr->halves[0] && !(addr->halves[1] & ~bpf_cpu_to_be64(1))) || is_ipv4(addr);
}

/*
 * Sources that no client has (net/ipv4/fib_frontend.c and route.c: martian
 * sources; net/ipv6/ip6_input.c: ip6_rcv_core()). One that is also the
 * destination is a LAND attack.
 */
static __always_inline int is_martian(const struct packet *pkt)
{
	const struct flow *flow = &pkt->flow;

	if (pkt->ipv6)
		return is_martian_ipv6(&flow->src) || is_ipv4(&flow->dst) ||
		       is_equal(&flow->src, &flow->dst);
	return is_martian_ipv4(&flow->src) || to_ipv4(&flow->src) == to_ipv4(&flow->dst);
}

/* 127.0.0.0/8, ::1 */
static __always_inline int is_loopback(const union addr *addr)
{
	return is_ipv4(addr) ? addr->bytes[12] == 127
			     : !addr->halves[0] && addr->halves[1] == bpf_cpu_to_be64(1);
}

/* fe80::/10 */
static __always_inline int is_link_local(const union addr *addr)
{
	return addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

static __always_inline __u8 hop_limit(const struct packet *pkt)
{
	return pkt->ipv6 ? pkt->ip6->hop_limit : pkt->ip->ttl;
}

/* Routers fragment IPv4 alone, and only without DF. */
static __always_inline int may_be_fragmented(const struct packet *pkt)
{
	return !pkt->ipv6 && !(pkt->ip->frag_off & bpf_htons(IP_DF));
}

/* Of an IP header that follows Ethernet's: its bytes, extension headers included. */
static __always_inline __u32 header_length(const struct packet *pkt)
{
	return pkt->l4 - (void *)pkt->ip;
}

static __always_inline int is_balanced(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static __always_inline int is_icmp(const struct packet *pkt)
{
	return pkt->flow.proto == (pkt->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline enum verdict parse_ipv4(struct packet *pkt)
{
	struct iphdr *ip = pkt->ip;
	__u32 header = ip->ihl * 4;

	pkt->length = bpf_ntohs(ip->tot_len);
	pkt->l4 = (void *)ip + header;
	if (ip->version != 4 || header < sizeof(*ip) || pkt->length < header)
		return VERDICT_MALFORMED;
	if (pkt->end - (void *)ip < pkt->length)
		return VERDICT_MALFORMED;

	pkt->fragmented = ip->frag_off & bpf_htons(IP_MF | IP_OFFSET);
	pkt->flow.proto = ip->protocol;
	pkt->flow.src = from_ipv4(ip->saddr);
	pkt->flow.dst = from_ipv4(ip->daddr);
	return VERDICT_COUNT;
}

/* fill_ipv6 fills pkt from a header whose payload is of a protocol and begins at l4. */
static __always_inline enum verdict fill_ipv6(struct packet *pkt, __u8 protocol, void *l4)
{
	struct ipv6hdr *ip6 = pkt->ip6;

	pkt->length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	pkt->l4 = l4;
	if (ip6->version != 6 || pkt->length < header_length(pkt))
		return VERDICT_MALFORMED;
	if (pkt->end - (void *)ip6 < pkt->length)
		return VERDICT_MALFORMED;

	pkt->ipv6 = 1;
	pkt->flow.proto = protocol;
	pkt->flow.src = from_ipv6(&ip6->saddr);
	pkt->flow.dst = from_ipv6(&ip6->daddr);
	return VERDICT_COUNT;
}

/* Not inlined for its needs of the stack, which are over when it returns. */
static __noinline enum verdict parse_extended(struct xdp_md *ctx, struct packet *pkt)
{
	struct chain chain = { .place = sizeof(struct ethhdr) + sizeof(struct ipv6hdr) };

	chain.protocol = pkt->ip6->nexthdr;
	if (!is_followed_to_end(ctx, &chain))
		return VERDICT_MALFORMED;
	pkt->fragmented = chain.fragmented;
	pkt->fragment_offset = chain.offset;
	return fill_ipv6(pkt, chain.protocol, (void *)pkt->eth + (chain.place & PLACE_MASK));
}

static __always_inline enum verdict parse_ipv6(struct xdp_md *ctx, struct packet *pkt)
{
	struct ipv6hdr *ip6 = pkt->ip6;

	if ((void *)(ip6 + 1) > pkt->end)
		return VERDICT_MALFORMED;
	if (unlikely(is_extension(ip6->nexthdr)))
		return parse_extended(ctx, pkt);
	return fill_ipv6(pkt, ip6->nexthdr, ip6 + 1);
}

/* open_frame looks at a frame anew. */
static __always_inline int open_frame(struct xdp_md *ctx, struct packet *pkt)
{
	void *data = (void *)(long)ctx->data;

	pkt->end = (void *)(long)ctx->data_end;
	pkt->eth = data;
	pkt->ip = data + sizeof(*pkt->eth);
	return (void *)(pkt->ip + 1) <= pkt->end;
}

/* take_tags makes a tagged frame one that arrived by its VLAN's interface. */
static __always_inline int take_tags(struct xdp_md *ctx, struct packet *pkt)
{
	__u32 arrival = is_tag(ether_type(pkt->eth)) ? untag(ctx) : 0;

	if (!arrival)
		return 0;
	pkt->untagged = 1;
	pkt->arrival = arrival;
	return open_frame(ctx, pkt);
}

/* restore_tags makes a frame what it was when it came. */
static __always_inline int restore_tags(struct xdp_md *ctx, struct packet *pkt)
{
	if (likely(!pkt->untagged))
		return 1;
	pkt->untagged = 0;
	return retag(ctx);
}

/* open_ip looks at a frame that has just come; 0: it carries no IP, or of a VLAN not ours. */
static __always_inline int open_ip(struct xdp_md *ctx, struct packet *pkt)
{
	__be16 type;

	pkt->arrival = ctx->ingress_ifindex;
	if (!open_frame(ctx, pkt))
		return 0;
	type = ether_type(pkt->eth);
	return likely(type == bpf_htons(ETH_P_IP)) || type == bpf_htons(ETH_P_IPV6) ||
	       take_tags(ctx, pkt);
}

/*
 * parse fills pkt with the headers, or says why the packet is none of ours.
 * VERDICT_COUNT means: go on.
 */
static __always_inline enum verdict parse(struct xdp_md *ctx, struct packet *pkt)
{
	if (!open_ip(ctx, pkt))
		return VERDICT_OTHER_PROTOCOL;
	return likely(ether_type(pkt->eth) == bpf_htons(ETH_P_IP)) ? parse_ipv4(pkt)
								   : parse_ipv6(ctx, pkt);
}

/* tcp_state_idx(): RST before SYN before FIN before ACK. */
static __always_inline enum event tcp_event(const struct tcphdr *tcp)
{
	if (likely(tcp->ack && !tcp->rst && !tcp->syn && !tcp->fin))
		return EVENT_ACK;
	if (tcp->rst)
		return EVENT_RST;
	if (tcp->syn)
		return EVENT_SYN;
	return tcp->fin ? EVENT_FIN : EVENT_NONE;
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

/*
 * parse_other reads UDP or SCTP, which has no checksum at check. The verifier
 * looks at SCTP first, and finds that UDP is a case of the same: nothing here may
 * branch on what only SCTP has.
 */
static __always_inline int parse_other(struct xdp_md *ctx, struct packet *pkt, __u32 size)
{
	struct udphdr *udp = pkt->l4;
	/* SCTP's has 12 bytes, UDP's 8, without a branch. */
	__u32 header = sizeof(*udp) + (pkt->flow.proto >> 5 & 4);

	if (size < header || (void *)(udp + 1) > pkt->end)
		return 0;
	pkt->flow.port.source = udp->source;
	pkt->flow.port.dest = udp->dest;
	pkt->check = &udp->check;
	if (likely(pkt->flow.proto == IPPROTO_SCTP)) {
		__u32 event = sctp_event(ctx, pkt->length - size + sizeof(struct ethhdr), size);

		pkt->event = event;
		pkt->syn = event >> SCTP_BEGINS_SHIFT;
	}
	return 1;
}

/* parse_transport reads the transport's header, or says why it can't. VERDICT_COUNT: go on. */
static __always_inline enum verdict parse_transport(struct xdp_md *ctx, struct packet *pkt)
{
	__u32 size = pkt->length - header_length(pkt);
	int whole;

	whole = pkt->flow.proto == IPPROTO_TCP ? parse_tcp(pkt, size) : parse_other(ctx, pkt, size);
	return whole ? VERDICT_COUNT : VERDICT_MALFORMED;
}

#endif
