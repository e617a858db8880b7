/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors that the director itself sends (RFC 792, RFC 1812 section 4.3). */
#ifndef LVSX_ICMP_H
#define LVSX_ICMP_H

#include "csum.h"
#include "packet.h"
#include "types.h"

#define ICMP_HEADERS (sizeof(struct iphdr) + sizeof(struct icmphdr))
/* RFC 1812: as much of the packet as fits in 576 bytes. */
#define ICMP_QUOTE (576 - ICMP_HEADERS)
#define ICMP_TTL 64

/* What an ICMP error says. */
struct complaint {
	__u8 type;
	__u8 code;
	__u16 mtu; /* of "fragmentation needed" */
	__be32 from;
	__be32 to;
	__u8 tos; /* of the packet complained about */
	__u16 id;
};

static __always_inline int is_answered(enum verdict verdict)
{
	return verdict >= VERDICT_NO_DESTINATION && verdict <= VERDICT_TOO_BIG;
}

/*
 * write_complaint fills the headers in front of quoted bytes that stand at
 * Ethernet + ICMP_HEADERS. The addresses in the Ethernet header are transmit()'s.
 */
__noinline int write_complaint(struct xdp_md *ctx, const struct complaint *complaint, __u32 quoted)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct icmphdr *icmp;
	struct iphdr *ip;
	__u64 sum;

	ip = (void *)(eth + 1);
	icmp = (void *)(ip + 1);
	if (!complaint || (void *)(icmp + 1) > (void *)(long)ctx->data_end)
		return 0;
	eth->h_proto = bpf_htons(ETH_P_IP);
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		/* net/ipv4/icmp.c: __icmp_send(): RT_TOS(tos) | IPTOS_PREC_INTERNETCONTROL */
		.tos = (complaint->tos & 0x1e) | 0xc0,
		.tot_len = bpf_htons(ICMP_HEADERS + quoted),
		.id = complaint->id,
		.ttl = ICMP_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = complaint->from,
		.daddr = complaint->to,
	};
	ip->check = ip_csum(ip);
	*icmp = (struct icmphdr){
		.type = complaint->type,
		.code = complaint->code,
		.mtu = bpf_htons(complaint->mtu),
	};

	sum = csum_bytes(ctx, sizeof(*eth) + sizeof(*ip), sizeof(*icmp) + quoted, 0);
	icmp->checksum = ~csum_fold(sum);
	return 1;
}

/*
 * refuse turns the packet into the ICMP error that verdict stands for, from its
 * destination (the VIP) to its sender, and sends it back.
 */
static __always_inline int refuse(struct xdp_md *ctx, struct packet *pkt, enum verdict verdict)
{
	struct complaint complaint = {
		.type = verdict == VERDICT_TTL_EXCEEDED ? ICMP_TIME_EXCEEDED : ICMP_DEST_UNREACH,
		.from = pkt->ip->daddr,
		.to = pkt->ip->saddr,
		.tos = pkt->ip->tos,
		.id = roll(&pkt->moment),
	};
	__u32 frame = pkt->end - (void *)pkt->eth, quoted = pkt->length;

	if (verdict == VERDICT_NO_DESTINATION) {
		complaint.code = ICMP_PORT_UNREACH;
	} else if (verdict == VERDICT_NO_ROUTE) {
		complaint.code = ICMP_HOST_UNREACH;
	} else if (verdict == VERDICT_TOO_BIG) {
		complaint.code = ICMP_FRAG_NEEDED;
		complaint.mtu = pkt->mtu;
	}
	if (quoted > ICMP_QUOTE)
		quoted = ICMP_QUOTE;

	__builtin_memcpy(pkt->next.dmac, pkt->eth->h_source, sizeof(pkt->next.dmac));
	__builtin_memcpy(pkt->next.smac, pkt->eth->h_dest, sizeof(pkt->next.smac));
	if (bpf_xdp_adjust_tail(ctx, (int)(sizeof(struct ethhdr) + quoted - frame)) ||
	    bpf_xdp_adjust_head(ctx, -(int)ICMP_HEADERS) ||
	    !write_complaint(ctx, &complaint, quoted))
		return 0;
	pkt->next.ifindex = ctx->ingress_ifindex;
	return 1;
}

#endif
