/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* NAT: the VIP becomes the real server's address on the way there, and is put back on the way to
 * the client. */
#ifndef LVSX_NAT_H
#define LVSX_NAT_H

#include "conn.h"
#include "csum.h"
#include "packet.h"
#include "types.h"

/* udp_checksum computes what a sender left at 0; include/net/udp.h: 0 goes out as 0xffff. */
static __noinline __u16 udp_checksum(struct xdp_md *ctx, __be32 saddr, __be32 daddr, __u32 offset,
				     __u32 length)
{
	__u64 sum = (__u64)saddr + daddr + bpf_htons(IPPROTO_UDP) + bpf_htons(length);
	__u16 csum = ~csum_fold(csum_bytes(ctx, offset, length, sum));

	return csum ? csum : 0xffff;
}

static __always_inline void update_checksums(struct xdp_md *ctx, struct packet *pkt, __be32 from,
					     __be32 to, __be16 from_port, __be16 to_port)
{
	__u64 addrs = csum_change32(from, to), ports = csum_change16(from_port, to_port);
	__u32 header = pkt->ip->ihl * 4;

	pkt->ip->check = csum_apply(pkt->ip->check, addrs);
	/* A datagram without a checksum gets one below, of all its bytes. */
	if (pkt->hands_over && *pkt->check) {
		pkt->handover = (struct handover){ 0, HANDOVER_MASQ, from, to, from_port, to_port };
		return;
	}
	if (pkt->flow.proto == IPPROTO_TCP) {
		*pkt->check = csum_apply(*pkt->check, addrs + ports);
	} else if (likely(*pkt->check)) {
		__u16 check = csum_apply(*pkt->check, addrs + ports);

		*pkt->check = check ? check : 0xffff;
	} else {
		/* kernel: udp_dnat_handler() makes one, a checksum of 0 does not stay */
		*pkt->check = udp_checksum(ctx, pkt->ip->saddr, pkt->ip->daddr,
					   sizeof(struct ethhdr) + header, pkt->length - header);
	}
}

/* masquerade sends a request to the real server. */
static __always_inline void masquerade(struct xdp_md *ctx, struct packet *pkt,
				       const struct dest *dest, __be16 port)
{
	struct ports *ports = pkt->l4;
	__be32 from = pkt->ip->daddr, to = to_ipv4(&dest->rip);
	__be16 from_port = ports->dest;

	pkt->ip->daddr = to;
	ports->dest = port;
	update_checksums(ctx, pkt, from, to, from_port, port);
}

/* unmasquerade makes a reply come from the VIP. */
static __always_inline void unmasquerade(struct xdp_md *ctx, struct packet *pkt,
					 const struct conn *conn)
{
	struct ports *ports = pkt->l4;
	__be32 from = pkt->ip->saddr, to = to_ipv4(&conn->vip);
	__be16 from_port = ports->source;

	pkt->ip->saddr = to;
	ports->source = conn->vport;
	update_checksums(ctx, pkt, from, to, from_port, conn->vport);
}

#endif
