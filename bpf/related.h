/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ICMP errors about connections. They quote a packet of the connection and
 * follow it: from the client's side to the real server, from the real server's
 * side to the client, and from the path of a tunnel, where they quote the
 * director's own packet, to the client anew. (ip_vs_core.c: ip_vs_in_icmp(),
 * ip_vs_out_icmp())
 */
#ifndef LVSX_RELATED_H
#define LVSX_RELATED_H

#include "conn.h"
#include "csum.h"
#include "forward.h"
#include "icmp.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"

/* net.ipv4.route.min_pmtu: what a forged error can push a path down to. */
#define MIN_PMTU 552

static __always_inline int is_followed(const struct icmphdr *icmp)
{
	return icmp->type == ICMP_DEST_UNREACH || icmp->type == ICMP_SOURCE_QUENCH ||
	       icmp->type == ICMP_TIME_EXCEEDED;
}

/*
 * parse_quote reads the flow of a quoted packet, turned round: the quoted
 * destination is the source of the packets that would answer it.
 */
static __always_inline struct ports *parse_quote(const struct packet *pkt, struct iphdr *quoted,
						 struct flow *flow)
{
	struct ports *ports;

	if ((void *)(quoted + 1) > pkt->end || quoted->version != 4 || quoted->ihl < 5)
		return NULL;
	if (quoted->frag_off & bpf_htons(IP_OFFSET))
		return NULL;
	ports = (void *)quoted + quoted->ihl * 4;
	if ((void *)(ports + 1) > pkt->end || (void *)(ports + 1) - (void *)pkt->ip > pkt->length)
		return NULL;
	flow->src = from_ipv4(quoted->daddr);
	flow->dst = from_ipv4(quoted->saddr);
	flow->port.source = ports->dest;
	flow->port.dest = ports->source;
	flow->proto = quoted->protocol;
	return ports;
}

static __always_inline int is_intact(struct xdp_md *ctx, const struct packet *pkt)
{
	__u32 header = pkt->l4 - (void *)pkt->ip;

	return csum_fold(csum_bytes(ctx, sizeof(struct ethhdr) + header, pkt->length - header,
				    0)) == 0xffff;
}

/*
 * rewrite changes one address and port in the quoted packet. Its IP header's
 * checksum takes up the change of address, so that the ICMP checksum over both
 * sees only that of the port.
 */
static __always_inline void rewrite(struct icmphdr *icmp, struct iphdr *quoted, __be32 *addr,
				    __be32 to, __be16 *port, __be16 to_port)
{
	quoted->check = csum_apply(quoted->check, csum_change32(*addr, to));
	icmp->checksum = csum_apply(icmp->checksum, csum_change16(*port, to_port));
	*addr = to;
	*port = to_port;
}

static __always_inline void rewrite_outer(struct iphdr *ip, __be32 *addr, __be32 to)
{
	ip->check = csum_apply(ip->check, csum_change32(*addr, to));
	*addr = to;
}

/* Errors are counted like packets: not once the destination is removed (ip_vs_out_stats()). */
static __always_inline void count_error_out(__u32 key, __u32 bytes)
{
	const struct dest *dest = bpf_map_lookup_elem(&dests, &key);

	if (dest && dest->flags & DEST_AVAILABLE)
		count_out(key, bytes);
}

/* From the client or a router on its side, about a packet from the VIP. */
static __always_inline enum verdict relate_in(struct xdp_md *ctx, struct packet *pkt,
					      const struct found *found, struct iphdr *quoted,
					      struct ports *ports)
{
	struct conn *conn = found->conn;
	__u32 overhead = forwarding_of(conn) == FORWARDING_TUNNEL ? sizeof(struct iphdr) : 0;
	__u32 key = found->dest;
	struct dest *dest = bpf_map_lookup_elem(&dests, &key);

	if (!dest || dest->flags & DEST_LOCAL)
		return VERDICT_UNRELATED;
	if (forwarding_of(conn) == FORWARDING_MASQ && !is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;
	if (dest->flags & DEST_AVAILABLE)
		count_in(found->dest, pkt->length);
	if (pkt->ip->ttl <= 1)
		return VERDICT_ERROR_EXPIRED;
	if (dest->flags & DEST_NO_ROUTE || !dest->next.ifindex)
		return VERDICT_NO_NEIGHBOUR;
	if (pkt->length + overhead > dest->mtu)
		return VERDICT_NEEDS_FRAGMENTING;

	if (forwarding_of(conn) == FORWARDING_MASQ) {
		rewrite(pkt->l4, quoted, &quoted->saddr, to_ipv4(&dest->rip), &ports->source,
			real_port(conn, dest));
		rewrite_outer(pkt->ip, &pkt->ip->daddr, to_ipv4(&dest->rip));
	}
	decrement_ttl(pkt->ip);
	pkt->next = dest->next;
	if (forwarding_of(conn) == FORWARDING_TUNNEL && !encapsulate(ctx, pkt, dest))
		return VERDICT_NO_ROOM;
	return VERDICT_ERROR_IN;
}

/* From a NAT real server or a router on its side, about a packet from the client. */
static __always_inline enum verdict relate_out(struct xdp_md *ctx, struct packet *pkt,
					       const struct found *found, struct iphdr *quoted,
					       struct ports *ports)
{
	struct conn *conn = found->conn;

	if (pkt->ip->ttl <= 1)
		return VERDICT_ERROR_EXPIRED;
	if (!is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;
	if (!set_client_hop(ctx, pkt, conn))
		return VERDICT_NO_PORT;
	rewrite(pkt->l4, quoted, &quoted->daddr, to_ipv4(&conn->vip), &ports->dest, conn->vport);
	rewrite_outer(pkt->ip, &pkt->ip->saddr, to_ipv4(&conn->vip));
	decrement_ttl(pkt->ip);
	count_error_out(found->dest, pkt->length);
	return VERDICT_ERROR_OUT;
}

/* What the tunnel's path can carry becomes known; the director forgets it in time. */
static __always_inline void learn_mtu(struct dest *dest, __u16 mtu)
{
	if (mtu < MIN_PMTU)
		mtu = MIN_PMTU;
	if (mtu < dest->mtu)
		dest->mtu = mtu;
}

/*
 * From the path between director and real server, about a tunnel packet: a new
 * error of the same kind goes from the VIP to the client, about its own packet.
 */
static __always_inline enum verdict relate_tunnel(struct xdp_md *ctx, struct packet *pkt,
						  struct iphdr *outer)
{
	struct iphdr *inner = outer + 1;
	struct icmphdr *icmp = pkt->l4;
	struct found found = {};
	struct dest *dest;
	struct flow flow, turned;
	__u32 key;

	if (outer->ihl != 5 || pkt->ip->ihl != 5 || outer->saddr != pkt->ip->daddr)
		return VERDICT_UNRELATED;
	if (!parse_quote(pkt, inner, &turned))
		return VERDICT_UNRELATED;
	flow = turned;
	flow.src = turned.dst;
	flow.dst = turned.src;
	flow.port.source = turned.port.dest;
	flow.port.dest = turned.port.source;
	if (!find_anywhere(&flow, REQUEST, pkt->moment.now, &found) ||
	    forwarding_of(found.conn) != FORWARDING_TUNNEL)
		return VERDICT_UNRELATED;
	key = found.dest;
	dest = bpf_map_lookup_elem(&dests, &key);
	if (!dest || to_ipv4(&dest->rip) != outer->daddr ||
	    to_ipv4(&dest->tunnel_source) != outer->saddr)
		return VERDICT_UNRELATED;
	if (!is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;

	struct complaint complaint = {
		.type = icmp->type,
		.code = icmp->code,
		.from = inner->daddr,
		.to = inner->saddr,
		.tos = inner->tos,
		.id = roll(&pkt->moment),
	};
	__u32 quoted = pkt->length - ICMP_HEADERS - sizeof(*outer);

	if (icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED) {
		/* The kernel reports the route's MTU as it was; the client's next try hears the new
		 * one. */
		complaint.mtu = dest->mtu - sizeof(*outer);
		learn_mtu(dest, bpf_ntohs(icmp->mtu));
		if (!(inner->frag_off & bpf_htons(IP_DF)))
			return VERDICT_NEEDS_FRAGMENTING;
	}
	if (quoted > ICMP_QUOTE)
		quoted = ICMP_QUOTE;
	count_error_out(found.dest, pkt->length);
	if (!set_client_hop(ctx, pkt, found.conn))
		return VERDICT_NO_PORT;
	__u32 frame = pkt->end - (void *)pkt->eth;

	if (bpf_xdp_adjust_head(ctx, sizeof(*outer)) ||
	    bpf_xdp_adjust_tail(ctx, (int)(sizeof(struct ethhdr) + ICMP_HEADERS + quoted +
					   sizeof(*outer) - frame)) ||
	    !write_complaint(ctx, &complaint, quoted)) {
		pkt->next.ifindex = 0;
		return VERDICT_NO_ROOM;
	}
	return VERDICT_ERROR_OUT;
}

/* relate decides about an ICMP packet. */
static __noinline enum verdict relate(struct xdp_md *ctx, struct packet *pkt)
{
	struct icmphdr *icmp = pkt->l4;
	struct iphdr *quoted = (void *)(icmp + 1);
	struct found found = {};
	struct ports *ports;
	struct flow flow;

	if (pkt->ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return VERDICT_FRAGMENT;
	if ((void *)(quoted + 1) > pkt->end)
		return VERDICT_UNRELATED;
	if (!is_followed(icmp))
		return VERDICT_UNRELATED;
	if (!is_for_us(find_interface(ctx->ingress_ifindex), ctx->ingress_ifindex, pkt->eth))
		return VERDICT_OTHER_HOST;
	if (is_martian(pkt->ip->saddr, pkt->ip->daddr))
		return VERDICT_MARTIAN;
	if (quoted->protocol == IPPROTO_IPIP)
		return relate_tunnel(ctx, pkt, quoted);

	ports = parse_quote(pkt, quoted, &flow);
	if (!ports)
		return VERDICT_UNRELATED;
	if (is_equal(&flow.dst, &pkt->flow.dst) && may_be_vip(&flow.dst) &&
	    find_anywhere(&flow, REQUEST, pkt->moment.now, &found))
		return relate_in(ctx, pkt, &found, quoted, ports);

	if (is_equal(&flow.dst, &pkt->flow.dst) && may_be_rip(&flow.src) &&
	    find_anywhere(&flow, REPLY, pkt->moment.now, &found))
		return relate_out(ctx, pkt, &found, quoted, ports);
	return VERDICT_UNRELATED;
}

#endif
