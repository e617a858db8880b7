/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Between the headers: finds the inner packet behind GRE or GUE, and takes it out. */
#ifndef LVSX_UNPACK_H
#define LVSX_UNPACK_H

#include "wrapped.h"
#include "encap.h"

static __always_inline enum verdict open_gre(struct xdp_md *ctx, struct wrapped *t)
{
	struct gre *gre = at(ctx, t->payload, sizeof(*gre));

	if (!gre || t->end < t->payload + sizeof(*gre))
		return VERDICT_MALFORMED;
	/* RFC 2784; the bits of RFC 2890 (key, sequence) and RFC 1701 no director sets. */
	if (gre->flags & ~bpf_htons(GRE_CHECKSUM))
		return VERDICT_TUNNEL_HEADER;
	if (gre->protocol != bpf_htons(ETH_P_IP) && gre->protocol != bpf_htons(ETH_P_IPV6))
		return VERDICT_TUNNEL_HEADER;
	t->summed = gre->flags != 0;
	t->ipv6 = gre->protocol == bpf_htons(ETH_P_IPV6);
	t->inner = t->payload + sizeof(*gre) + (t->summed ? 4 : 0);
	return VERDICT_UNWRAPPED;
}

/* Variant 1: the inner IP header stands where GUE's would. */
static __always_inline enum verdict open_gue_direct(__u8 lead, struct wrapped *t)
{
	if (lead >> 4 != 4 && lead >> 4 != 6)
		return VERDICT_TUNNEL_HEADER;
	t->ipv6 = lead >> 4 == 6;
	t->inner = t->payload + sizeof(struct udphdr);
	return VERDICT_UNWRAPPED;
}

/* What a director asks for with --tun-remcsum of packets whose checksum is unfinished. */
static __always_inline enum verdict open_remcsum(struct xdp_md *ctx, struct wrapped *t)
{
	__u32 place = t->payload + sizeof(struct udphdr) + sizeof(struct gue);
	struct gue_remcsum *remcsum = at(ctx, place, sizeof(*remcsum));

	if (!remcsum)
		return VERDICT_MALFORMED;
	if (remcsum->private_flags != bpf_htonl(GUE_PRIVATE_REMCSUM))
		return VERDICT_TUNNEL_HEADER;
	t->remote = true;
	t->remote_start = bpf_ntohs(remcsum->start);
	t->remote_offset = bpf_ntohs(remcsum->offset);
	t->inner = place + sizeof(*remcsum);
	return VERDICT_UNWRAPPED;
}

static __always_inline enum verdict open_gue(struct xdp_md *ctx, struct wrapped *t)
{
	struct udphdr *udp = at(ctx, t->payload, sizeof(*udp) + sizeof(struct gue));
	struct gue *gue = (void *)(udp + 1);

	if (!udp || bpf_ntohs(udp->len) < sizeof(*udp) + sizeof(*gue) ||
	    t->payload + bpf_ntohs(udp->len) > t->whole)
		return VERDICT_MALFORMED;
	t->whole = t->payload + bpf_ntohs(udp->len);
	t->summed = udp->check != 0;
	if (GUE_VARIANT(gue->lead) == 1)
		return open_gue_direct(gue->lead, t);
	if (gue->protocol != IPPROTO_IPIP && gue->protocol != IPPROTO_IPV6)
		return VERDICT_TUNNEL_HEADER;
	t->ipv6 = gue->protocol == IPPROTO_IPV6;
	t->inner = t->payload + sizeof(*udp) + sizeof(*gue);
	if (!gue->lead && !gue->flags)
		return VERDICT_UNWRAPPED;
	if (gue->lead == sizeof(struct gue_remcsum) / 4 && gue->flags == bpf_htons(GUE_PRIVATE))
		return open_remcsum(ctx, t);
	return VERDICT_TUNNEL_HEADER; /* control messages, other variants and options */
}

/* open_tunnel finds the inner packet. */
static __always_inline enum verdict open_tunnel(struct xdp_md *ctx, struct wrapped *t)
{
	switch (t->protocol) {
	case IPPROTO_GRE:
		return open_gre(ctx, t);
	case IPPROTO_UDP:
		return open_gue(ctx, t);
	}
	t->ipv6 = t->protocol == IPPROTO_IPV6;
	t->inner = t->payload;
	return VERDICT_UNWRAPPED;
}

/* Moves the Ethernet header up to the inner packet and cuts off what lies before. */
static __always_inline enum verdict unwrap(struct xdp_md *ctx, const struct wrapped *t)
{
	__u32 overhead = t->inner - sizeof(struct ethhdr);
	struct ethhdr *from = at(ctx, 0, sizeof(*from)), *to = at(ctx, overhead, sizeof(*to)),
		      header;

	if (!from || !to)
		return VERDICT_MALFORMED;
	header = *from;
	header.h_proto = bpf_htons(t->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	*to = header;
	if (bpf_xdp_adjust_head(ctx, (int)overhead))
		return VERDICT_NO_ROOM;
	return VERDICT_UNWRAPPED;
}

#endif
