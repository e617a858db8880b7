/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors that the director itself sends (RFC 792, RFC 1812 section 4.3; RFC 4443). */
#ifndef LVSX_ICMP_H
#define LVSX_ICMP_H

#include "credit.h"
#include "csum.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"

/* As much of the packet as fits in 576 bytes (RFC 1812), or in 1280 (RFC 4443). */
#define ICMP_SIZE_MAX 576
#define ICMPV6_SIZE_MAX 1280
#define ICMP_TTL 64

/* What an ICMP error says. */
struct complaint {
	union addr from;
	union addr to;
	__u16 mtu; /* of "fragmentation needed" and "packet too big" */
	__u16 id;
	__u8 type;
	__u8 code;
	__u8 tos; /* of the packet complained about */
	__u8 ipv6;
};

static __always_inline int is_answered(enum verdict verdict)
{
	return verdict >= VERDICT_NO_DESTINATION && verdict <= VERDICT_RESET;
}

/*
 * may_complain takes one ICMP error from what the machine sends in a time. Path
 * MTU discovery is not limited (net/ipv4/icmp.c: icmpv4_global_allow()).
 */
static __always_inline int may_complain(__u32 now)
{
	return !settings.icmp_rate ||
	       take_credit(CREDIT_ICMP, settings.icmp_rate, settings.icmp_burst, now);
}

/* What stands before the quoted packet. */
static __always_inline __u32 complaint_length(__u8 ipv6)
{
	return sizeof(struct icmphdr) + (ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
}

static __always_inline __u32 quote_length(__u8 ipv6, __u32 length)
{
	__u32 room = (ipv6 ? ICMPV6_SIZE_MAX : ICMP_SIZE_MAX) - complaint_length(ipv6);

	return length < room ? length : room;
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct complaint *complaint,
				       __u32 quoted)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		/* net/ipv4/icmp.c: __icmp_send(): RT_TOS(tos) | IPTOS_PREC_INTERNETCONTROL */
		.tos = (complaint->tos & 0x1e) | 0xc0,
		.tot_len = bpf_htons(complaint_length(0) + quoted),
		.id = complaint->id,
		.ttl = ICMP_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = to_ipv4(&complaint->from),
		.daddr = to_ipv4(&complaint->to),
	};
	ip->check = ip_csum(ip);
}

static __always_inline void write_ipv6(struct ipv6hdr *ip6, const struct complaint *complaint,
				       __u32 quoted)
{
	*ip6 = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(sizeof(struct icmphdr) + quoted),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = ICMP_TTL,
	};
	to_ipv6(&ip6->saddr, &complaint->from);
	to_ipv6(&ip6->daddr, &complaint->to);
}

/*
 * write_complaint fills the headers in front of quoted bytes that stand at
 * Ethernet + complaint_length(). The addresses in the Ethernet header are
 * transmit()'s.
 */
__noinline int write_complaint(struct xdp_md *ctx, const struct complaint *complaint, __u32 quoted)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 size = sizeof(struct icmphdr) + quoted, header;
	void *ip = eth + 1, *end = (void *)(long)ctx->data_end;
	struct icmphdr *icmp;
	__u64 sum = 0;

	if (!complaint || ip + complaint_length(1) > end)
		return 0;
	if (complaint->ipv6) {
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		write_ipv6(ip, complaint, quoted);
		sum = csum_pseudo(&complaint->from, &complaint->to, IPPROTO_ICMPV6, size);
	} else {
		eth->h_proto = bpf_htons(ETH_P_IP);
		write_ipv4(ip, complaint, quoted);
	}
	header = complaint->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	icmp = ip + header;
	*icmp = (struct icmphdr){
		.type = complaint->type,
		.code = complaint->code,
		.mtu = bpf_htons(complaint->mtu),
	};
	icmp->checksum = ~csum_fold(csum_bytes(ctx, sizeof(*eth) + header, size, sum));
	return 1;
}

/* word says what a verdict means in ICMP. */
static __always_inline void word(struct complaint *complaint, enum verdict verdict, __u16 mtu)
{
	complaint->type = complaint->ipv6 ? ICMPV6_DEST_UNREACH : ICMP_DEST_UNREACH;
	if (verdict == VERDICT_NO_DESTINATION || verdict == VERDICT_STRAY) {
		complaint->code = complaint->ipv6 ? ICMPV6_PORT_UNREACH : ICMP_PORT_UNREACH;
	} else if (verdict == VERDICT_NO_ROUTE) {
		complaint->code = complaint->ipv6 ? ICMPV6_ADDR_UNREACH : ICMP_HOST_UNREACH;
	} else if (verdict == VERDICT_TTL_EXCEEDED) {
		complaint->type = complaint->ipv6 ? ICMPV6_TIME_EXCEEDED : ICMP_TIME_EXCEEDED;
	} else if (complaint->ipv6) {
		complaint->type = ICMPV6_PKT_TOOBIG;
		complaint->mtu = mtu;
	} else {
		complaint->code = ICMP_FRAG_NEEDED;
		complaint->mtu = mtu;
	}
}

/*
 * refuse turns the packet into the ICMP error that verdict stands for, from its
 * destination (the VIP) to its sender, and sends it back.
 */
static __noinline int refuse(struct xdp_md *ctx, struct packet *pkt, enum verdict verdict)
{
	struct complaint complaint = {
		.from = pkt->flow.dst,
		.to = pkt->flow.src,
		.tos = pkt->ipv6 ? 0 : pkt->ip->tos,
		.id = roll(&pkt->moment),
		.ipv6 = pkt->ipv6,
	};
	__u32 frame = pkt->end - (void *)pkt->eth, quoted = quote_length(pkt->ipv6, pkt->length);

	word(&complaint, verdict, pkt->mtu);
	__builtin_memcpy(pkt->next.dmac, pkt->eth->h_source, sizeof(pkt->next.dmac));
	__builtin_memcpy(pkt->next.smac, pkt->eth->h_dest, sizeof(pkt->next.smac));
	if (bpf_xdp_adjust_tail(ctx, (int)(sizeof(struct ethhdr) + quoted - frame)) ||
	    bpf_xdp_adjust_head(ctx, -(int)complaint_length(complaint.ipv6)) ||
	    !write_complaint(ctx, &complaint, quoted))
		return 0;
	pkt->handover.work = HANDOVER_BACK;
	pkt->next.ifindex = arrival_of(pkt)->ifindex;
	return 1;
}

#endif
