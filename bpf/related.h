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

#include "admit.h"
#include "conn.h"
#include "csum.h"
#include "forward.h"
#include "icmp.h"
#include "maps.h"
#include "packet.h"
#include "pathmtu.h"
#include "service.h"
#include "types.h"

/* A quoted packet, of the same family as the error. */
struct quote {
	union {
		struct iphdr *ip;
		struct ipv6hdr *ip6;
	};
	struct ports *ports;
};

/* parse_ports reads what every transport begins with, if it is quoted. */
static __always_inline int parse_ports(struct packet *pkt, struct quote *quote, void *l4)
{
	struct ports *ports = l4;

	if ((void *)(ports + 1) > pkt->end || (void *)(ports + 1) - (void *)pkt->ip > pkt->length)
		return 0;
	quote->ports = ports;
	pkt->flow.port.source = ports->dest;
	pkt->flow.port.dest = ports->source;
	return 1;
}

/*
 * parse_quote makes the quoted flow the packet's, turned round: the quoted
 * destination is the source of the packets that would answer it.
 */
static __always_inline int parse_quote_ipv4(struct packet *pkt, struct iphdr *ip,
					    struct quote *quote)
{
	if ((void *)(ip + 1) > pkt->end || ip->version != 4 || ip->ihl < 5)
		return 0;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return 0;
	quote->ip = ip;
	pkt->flow.src = from_ipv4(ip->daddr);
	pkt->flow.dst = from_ipv4(ip->saddr);
	pkt->flow.proto = ip->protocol;
	return parse_ports(pkt, quote, (void *)ip + ip->ihl * 4);
}

static __always_inline int parse_quote_ipv6(struct xdp_md *ctx, struct packet *pkt,
					    struct ipv6hdr *ip6, struct quote *quote)
{
	struct chain chain = { .place = (void *)(ip6 + 1) - (void *)pkt->eth };

	if ((void *)(ip6 + 1) > pkt->end || ip6->version != 6)
		return 0;
	chain.protocol = ip6->nexthdr;
	if (is_extension(ip6->nexthdr) && !is_followed_to_end(ctx, &chain))
		return 0;
	if (chain.offset)
		return 0;
	quote->ip6 = ip6;
	pkt->flow.src = from_ipv6(&ip6->daddr);
	pkt->flow.dst = from_ipv6(&ip6->saddr);
	pkt->flow.proto = chain.protocol;
	return parse_ports(pkt, quote, (void *)pkt->eth + (chain.place & PLACE_MASK));
}

/* turn makes a flow that of the other direction. */
static __always_inline void turn(struct flow *flow)
{
	struct ports port = { flow->port.dest, flow->port.source };
	union addr src = flow->dst;

	flow->dst = flow->src;
	flow->src = src;
	flow->port = port;
}

static __always_inline int parse_quote(struct xdp_md *ctx, struct packet *pkt, void *quoted,
				       struct quote *quote)
{
	return pkt->ipv6 ? parse_quote_ipv6(ctx, pkt, quoted, quote)
			 : parse_quote_ipv4(pkt, quoted, quote);
}

/* To whom the error itself is sent. */
static __always_inline union addr addressee(const struct packet *pkt)
{
	return pkt->ipv6 ? from_ipv6(&pkt->ip6->daddr) : from_ipv4(pkt->ip->daddr);
}

/*
 * requote changes a port in the quoted packet. An IPv4 header's own checksum
 * takes up a change of address, so that ICMP's sees that of the port alone;
 * ICMPv6's sees addresses, too.
 */
static __always_inline void requote(struct packet *pkt, __be16 *port, __be16 to, __u64 addrs)
{
	struct icmphdr *icmp = pkt->l4;
	__u64 change = csum_change16(*port, to);

	icmp->checksum = csum_apply(icmp->checksum, pkt->ipv6 ? change + addrs : change);
	*port = to;
}

/* translate_in and translate_out change addresses and a port in an error and in what it quotes. */
static __always_inline void translate_in(struct packet *pkt, const struct quote *quote,
					 const union addr *rip, __be16 port)
{
	__u64 addrs;

	if (pkt->ipv6)
		addrs = replace_ipv6(&pkt->ip6->daddr, rip) + replace_ipv6(&quote->ip6->saddr, rip);
	else
		addrs = replace_ipv4(pkt->ip, &pkt->ip->daddr, rip) +
			replace_ipv4(quote->ip, &quote->ip->saddr, rip);
	requote(pkt, &quote->ports->source, port, addrs);
}

static __always_inline void translate_out(struct packet *pkt, const struct quote *quote,
					  const union addr *vip, __be16 port)
{
	__u64 addrs;

	if (pkt->ipv6)
		addrs = replace_ipv6(&pkt->ip6->saddr, vip) + replace_ipv6(&quote->ip6->daddr, vip);
	else
		addrs = replace_ipv4(pkt->ip, &pkt->ip->saddr, vip) +
			replace_ipv4(quote->ip, &quote->ip->daddr, vip);
	requote(pkt, &quote->ports->dest, port, addrs);
}

/* Errors are counted like packets: not once the destination is removed (ip_vs_out_stats()). */
static __always_inline void count_error_out(__u32 key, __u32 bytes)
{
	const struct dest *dest = dest_by(key);

	if (dest && dest->flags & DEST_AVAILABLE)
		count_out(key, bytes);
}

/* Whether an error is from 127.0.0.1: it stays on the director (crosses_local_route_boundary()). */
static __always_inline int is_from_loopback(const struct packet *pkt)
{
	union addr from = pkt->ipv6 ? from_ipv6(&pkt->ip6->saddr) : from_ipv4(pkt->ip->saddr);

	return is_loopback(&from);
}

/* From the client or a router on its side, about a packet from the VIP. */
static __always_inline enum verdict relate_in(struct xdp_md *ctx, struct packet *pkt,
					      enum conn_flags flags, __u32 key,
					      const struct quote *quote)
{
	enum forwarding forwarding = flags & CONN_FORWARDING;
	struct dest *dest = dest_by(key);
	__u32 overhead = 0;

	if (!dest || (dest->flags & DEST_LOCAL &&
		      (forwarding != FORWARDING_MASQ || !settings.local_ifindex)))
		return VERDICT_UNRELATED;
	if (forwarding == FORWARDING_MASQ && !is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;
	if (dest->flags & DEST_AVAILABLE)
		count_in(key, pkt->length);
	if (dest->flags & DEST_LOCAL) {
		translate_in(pkt, quote, &dest->rip, real_port(flags, dest, pkt->flow.port.dest));
		return VERDICT_LOCAL;
	}
	if (hop_limit(pkt) <= 1)
		return VERDICT_ERROR_EXPIRED;
	if (dest->flags & DEST_NO_ROUTE || !dest->next.ifindex)
		return VERDICT_NO_NEIGHBOUR;
	if (forwarding == FORWARDING_TUNNEL)
		overhead = tunnel_overhead(dest);
	if (pkt->length + overhead > dest->mtu)
		return VERDICT_NEEDS_FRAGMENTING;
	if (is_from_loopback(pkt)) /* a martian, but of the director's own */
		return VERDICT_LOOPBACK;

	if (forwarding == FORWARDING_MASQ)
		translate_in(pkt, quote, &dest->rip, real_port(flags, dest, pkt->flow.port.dest));
	lessen_hop_limit(pkt);
	pkt->next = dest->next;
	if (forwarding == FORWARDING_TUNNEL && !encapsulate(ctx, pkt, dest, key))
		return VERDICT_NO_ROOM;
	return VERDICT_ERROR_IN;
}

/* From a NAT real server or a router on its side, about a packet from the client. */
static __always_inline enum verdict relate_out(struct xdp_md *ctx, struct packet *pkt,
					       const struct found *found, const struct quote *quote)
{
	struct conn *conn = found->conn;

	if (hop_limit(pkt) <= 1)
		return VERDICT_ERROR_EXPIRED;
	if (!is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;
	if (!set_client_hop(ctx, pkt, conn))
		return VERDICT_NO_PORT;
	translate_out(pkt, quote, &conn->vip, conn->vport);
	if (!is_own(ctx))
		lessen_hop_limit(pkt);
	count_error_out(found->dest, pkt->length);
	return VERDICT_ERROR_OUT;
}

/* What a quoted tunnel packet has in front of the inner one. */
struct quoted_tunnel {
	__u32 length; /* of both headers */
	enum tunnel type;
	__be16 port; /* of GUE */
};

/*
 * parse_tunnel reads a quoted tunnel's headers. As the kernel does, it knows
 * IPv4 in IPv4 alone (ip_vs_in_icmp()).
 */
static __always_inline int parse_tunnel(const struct packet *pkt, const struct iphdr *outer,
					struct quoted_tunnel *tunnel)
{
	const union shim *shim = (const void *)(outer + 1);

	if ((void *)(shim + 1) > pkt->end || outer->ihl != 5)
		return 0;
	tunnel->length = sizeof(*outer);
	switch (outer->protocol) {
	case IPPROTO_IPIP:
		tunnel->type = TUNNEL_IPIP;
		return 1;
	case IPPROTO_GRE:
		tunnel->type = TUNNEL_GRE;
		tunnel->length += shim->gre.gre.flags ? sizeof(shim->gre) : sizeof(shim->gre.gre);
		return !(shim->gre.gre.flags & ~bpf_htons(GRE_CHECKSUM)) &&
		       shim->gre.gre.protocol == bpf_htons(ETH_P_IP);
	case IPPROTO_UDP:
		tunnel->type = TUNNEL_GUE;
		tunnel->port = shim->gue.udp.dest;
		tunnel->length += sizeof(shim->gue);
		return !shim->gue.gue.lead && !shim->gue.gue.flags &&
		       shim->gue.gue.protocol == IPPROTO_IPIP;
	}
	return 0;
}

static __always_inline int is_tunnel_to(const struct dest *dest, const struct iphdr *outer,
					const struct quoted_tunnel *tunnel)
{
	return to_ipv4(&dest->rip) == outer->daddr &&
	       to_ipv4(&dest->tunnel_source) == outer->saddr &&
	       tunnel_type(dest->tunnel) == tunnel->type &&
	       (tunnel->type != TUNNEL_GUE || dest->tunnel_port == tunnel->port);
}

/*
 * From the path between director and real server, about a tunnel packet: a new
 * error of the same kind goes from the VIP to the client, about its own packet.
 */
static __noinline enum verdict relate_tunnel(struct xdp_md *ctx, struct packet *pkt,
					     struct iphdr *outer)
{
	struct quoted_tunnel tunnel = {};
	struct icmphdr *icmp = pkt->l4;
	struct iphdr *inner;
	struct found found = {};
	struct quote quote;
	struct dest *dest;
	__u32 key;

	if (!parse_tunnel(pkt, outer, &tunnel))
		return VERDICT_UNRELATED;
	inner = (void *)outer + tunnel.length;
	if ((void *)(inner + 1) > pkt->end)
		return VERDICT_UNRELATED;
	if (pkt->ip->ihl != 5 || outer->saddr != pkt->ip->daddr)
		return VERDICT_UNRELATED;
	if (!parse_quote_ipv4(pkt, inner, &quote))
		return VERDICT_UNRELATED;
	turn(&pkt->flow);
	if (!find_anywhere(&pkt->flow, REQUEST, pkt->moment.now, &found) ||
	    forwarding_of(found.conn) != FORWARDING_TUNNEL)
		return VERDICT_UNRELATED;
	key = found.dest;
	dest = dest_by(key);
	if (!dest || !is_tunnel_to(dest, outer, &tunnel))
		return VERDICT_UNRELATED;
	if (!is_intact(ctx, pkt))
		return VERDICT_BAD_CHECKSUM;

	struct complaint complaint = {
		.type = icmp->type,
		.code = icmp->code,
		.from = pkt->flow.dst,
		.to = pkt->flow.src,
		.tos = inner->tos,
		.id = roll(&pkt->moment),
	};
	__u32 quoted = quote_length(0, pkt->length - complaint_length(0) - tunnel.length);

	if (icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED) {
		/* The kernel reports the route's MTU as it was; the client's next try hears the new
		 * one. */
		complaint.mtu = dest->mtu - tunnel.length;
		learn_mtu(dest, bpf_ntohs(icmp->mtu));
		if (!(inner->frag_off & bpf_htons(IP_DF)))
			return VERDICT_NEEDS_FRAGMENTING;
	}
	if (!complaint.mtu && !may_complain(pkt->moment.now))
		return VERDICT_UNANSWERED;
	count_error_out(found.dest, pkt->length);
	if (!set_client_hop(ctx, pkt, found.conn))
		return VERDICT_NO_PORT;
	__u32 frame = pkt->end - (void *)pkt->eth;

	if (bpf_xdp_adjust_head(ctx, (int)tunnel.length) ||
	    bpf_xdp_adjust_tail(ctx, (int)(sizeof(struct ethhdr) + complaint_length(0) + quoted +
					   tunnel.length - frame)) ||
	    !write_complaint(ctx, &complaint, quoted)) {
		pkt->next.ifindex = 0;
		return VERDICT_NO_ROOM;
	}
	return VERDICT_ERROR_OUT;
}

static __always_inline int may_quote_tunnel(const struct packet *pkt, const struct icmphdr *icmp)
{
	const struct iphdr *quoted = (const void *)(icmp + 1);

	return !pkt->ipv6 && (void *)(quoted + 1) <= pkt->end && quoted->protocol != IPPROTO_TCP;
}

/*
 * may_begin tells whether an error about nothing known begins a connection, of
 * which its quoted packet is the first, whatever it is (schedule_icmp).
 */
static __always_inline int may_begin(struct packet *pkt)
{
	if (likely(!settings.switches.schedule_icmp))
		return 0;
	pkt->event = pkt->flow.proto >> 7; /* SCTP_INIT or EVENT_SYN, without a branch */
	return is_balanced(pkt->flow.proto) && may_be_vip(&pkt->flow.dst);
}

/*
 * relate_connection follows an error about a packet that went by a connection, or
 * that goes where once says. VERDICT_COUNT: there is none, and it may begin one.
 */
static __noinline enum verdict relate_connection(struct xdp_md *ctx, struct packet *pkt,
						 void *quoted, const struct choice *once)
{
	const struct flow *flow = &pkt->flow;
	struct found found = {};
	enum conn_flags flags;
	struct quote quote;
	union addr to;
	__u32 key;

	if (!parse_quote(ctx, pkt, quoted, &quote))
		return VERDICT_UNRELATED;
	to = addressee(pkt);
	if (!is_equal(&flow->dst, &to))
		return VERDICT_UNRELATED;
	if (once) {
		flags = once->flags;
		key = once->dest;
	} else if (may_be_rip(&flow->src) && find_anywhere(flow, REPLY, pkt->moment.now, &found)) {
		/* the kernel's order where the VIP is local (ip_vs_ops4) */
		return relate_out(ctx, pkt, &found, &quote);
	} else if (may_be_vip(&flow->dst) &&
		   find_anywhere(flow, REQUEST, pkt->moment.now, &found)) {
		flags = found.conn->flags;
		key = found.dest;
	} else {
		return may_begin(pkt) ? VERDICT_COUNT : VERDICT_UNRELATED;
	}
	return relate_in(ctx, pkt, flags, key, &quote);
}

/*
 * relate_anew enters a connection for the packet that an ICMP error quotes, and
 * sends the error on by it (ip_vs_core.c: ip_vs_in_icmp()). No error is answered
 * by another.
 */
static __always_inline enum verdict relate_anew(struct xdp_md *ctx, struct packet *pkt)
{
	struct found found = {};
	enum verdict verdict = admit(ctx, pkt, &found, 0);
	const struct choice *once = found.conn ? NULL : find_choice();
	struct icmphdr *icmp = pkt->l4;

	switch (verdict) {
	case VERDICT_COUNT:
		break;
	case VERDICT_NO_DESTINATION:
		return VERDICT_UNANSWERED;
	default:
		return verdict < VERDICT_MASQ_IN ? VERDICT_UNRELATED : verdict;
	}
	if (once) {
		account_once(once->dest);
		count_conn(once->dest);
	}
	verdict = relate_connection(ctx, pkt, icmp + 1, once);
	return verdict == VERDICT_COUNT ? VERDICT_UNRELATED : verdict;
}

/* relate decides about an ICMP packet. */
static __always_inline enum verdict relate(struct xdp_md *ctx, struct packet *pkt)
{
	struct icmphdr *icmp = pkt->l4;
	enum verdict verdict;

	if (pkt->fragmented)
		return VERDICT_FRAGMENT;
	if ((void *)(icmp + 1) > pkt->end || !is_icmp_error(pkt->ipv6, icmp->type))
		return VERDICT_UNRELATED;
	if (!is_for_us(pkt, arrival_of(pkt)))
		return VERDICT_OTHER_HOST;
	if (is_martian(pkt) && !is_own(ctx))
		return VERDICT_MARTIAN;
	if (may_quote_tunnel(pkt, icmp)) {
		verdict = relate_tunnel(ctx, pkt, (void *)(icmp + 1));
		if (verdict != VERDICT_UNRELATED)
			return verdict;
	}
	if (tells_mtu(pkt, icmp))
		learn_path(ctx, pkt);
	verdict = relate_connection(ctx, pkt, icmp + 1, NULL);
	return likely(verdict != VERDICT_COUNT) ? verdict : relate_anew(ctx, pkt);
}

#endif
