/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a connection to a frame on its way: limits, forwarding method, next hop. */
#ifndef LVSX_FORWARD_H
#define LVSX_FORWARD_H

#include "conn.h"
#include "csum.h"
#include "ether.h"
#include "icmp.h"
#include "maps.h"
#include "nat.h"
#include "packet.h"
#include "tunnel.h"
#include "types.h"

static __always_inline void lessen_hop_limit(struct packet *pkt)
{
	if (pkt->ipv6)
		pkt->ip6->hop_limit--;
	else
		decrement_ttl(pkt->ip);
}

/* Merged by offload: no frame on the wire is above its interface's MTU. */
static __always_inline int is_merged(const struct packet *pkt, const struct interface *from)
{
	if (!(from->flags & INTERFACE_GENERIC))
		return 0;
	if (from->flags & INTERFACE_LOCAL)
		return ((const struct origin *)pkt->eth->h_source)->merged;
	return pkt->length > from->mtu;
}

/*
 * Generic XDP cannot redirect such; it can send it back where it came from.
 * Merged SCTP lost its seams when the stack made it linear for XDP.
 */
static __always_inline int can_send_merged(const struct packet *pkt, __u32 ifindex,
					   const struct interface *from)
{
	if (pkt->flow.proto == IPPROTO_SCTP)
		return 0;
	return pkt->sending == SENDING_BEHIND || ifindex == from->ifindex;
}

/* Whether a sender has left the checksum to hardware that is not there: such cannot be cut. */
static __always_inline int is_unfinished(const struct packet *pkt, const struct interface *from)
{
	const struct flow *flow = &pkt->flow;
	__u32 size = pkt->length - header_length(pkt);
	const struct sctp_header *sctp = pkt->l4;

	if (!(from->flags & INTERFACE_GENERIC) || !pkt->check)
		return 0;
	if (flow->proto == IPPROTO_SCTP)
		return (void *)(sctp + 1) > pkt->end || !sctp->checksum;
	return *pkt->check == csum_fold(csum_pseudo(&flow->src, &flow->dst, flow->proto, size));
}

/*
 * must_split has a packet that is above the MTU and may be fragmented cut, once
 * it is what it is sent on as; MTU 0: to nothing. Rare, and so not inlined.
 */
static __noinline enum verdict must_split(struct packet *pkt, __u16 mtu,
					  const struct interface *from)
{
	if (!mtu || !(from->flags & INTERFACE_SPLITS) || is_unfinished(pkt, from))
		return VERDICT_NEEDS_FRAGMENTING;
	pkt->handover = (struct handover){ .work = HANDOVER_SPLIT, .mtu = mtu };
	pkt->sending = SENDING_SPLIT;
	return VERDICT_COUNT;
}

/*
 * A tunnel in IPv6 that leaves less than IPv6 needs (RFC 8200, section 5): what
 * does not fit is dropped, and nobody is told (ip_vs_xmit.c:
 * __ip_vs_get_out_rt_v6()).
 */
static __noinline int is_narrow(const struct dest *dest)
{
	return !is_ipv4(&dest->rip) && dest->mtu < IPV6_MIN_MTU + tunnel_overhead(dest);
}

/* Why a packet cannot go on as it is. VERDICT_COUNT: it can. */
static __always_inline enum verdict check_limits(struct packet *pkt, const struct dest *dest,
						 enum forwarding forwarding, __u32 overhead,
						 const struct interface *from)
{
	if (dest->flags & DEST_NO_ROUTE)
		return VERDICT_NO_ROUTE;
	if (hop_limit(pkt) <= 1)
		return VERDICT_TTL_EXCEEDED;
	if (!dest->next.ifindex)
		return VERDICT_NO_NEIGHBOUR;
	if (likely(pkt->length + overhead <= dest->mtu))
		return VERDICT_COUNT;
	if (is_merged(pkt, from))
		return can_send_merged(pkt, dest->next.ifindex, from) ? VERDICT_COUNT
								      : VERDICT_MERGED;
	if (forwarding == FORWARDING_TUNNEL && is_narrow(dest))
		return must_split(pkt, 0, from);
	if (may_be_fragmented(pkt) || (forwarding == FORWARDING_TUNNEL && ignores_df(pkt)))
		return must_split(pkt, dest->mtu, from);
	return VERDICT_TOO_BIG;
}

/* Whether a packet has its transport header: later fragments have none. */
enum part {
	PART_HEADED,
	PART_LATER,
};

static __always_inline int address_frame(struct xdp_md *ctx, const struct hop *next)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	address_ether(eth, next);
	return 1;
}

/* The way to processes of the director: lo's MAC addresses are 0. */
static __always_inline struct hop by_loopback(void)
{
	return (struct hop){ .ifindex = LOOPBACK_IFINDEX };
}

/* pass_down tells the tc program behind XDP what is left to do before a packet goes on, by an
 * interface or, if that is 0, up to the stack. */
static __always_inline int pass_down(struct xdp_md *ctx, const struct handover *handover,
				     __u32 ifindex)
{
	struct left *left;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*left)))
		return 0;
	left = (void *)(long)ctx->data_meta;
	if ((void *)(left + 1) > (void *)(long)ctx->data)
		return 0;
	left->handover = *handover;
	left->handover.ifindex = ifindex;
	left->cut.size = 0;
	return 1;
}

/*
 * judge_local tells what becomes of a packet to a real server that is the
 * director itself. VERDICT_COUNT: NAT sends it to the address and port that are
 * configured; what is answered there passes local.h. Nobody outside reaches
 * 127.0.0.1 (kernel: __ip_vs_get_out_rt()).
 */
static __noinline enum verdict judge_local(struct xdp_md *ctx, const struct dest *dest,
					   enum forwarding forwarding)
{
	if (forwarding == FORWARDING_BYPASS)
		return VERDICT_BYPASS;
	if (forwarding != FORWARDING_MASQ || !settings.local_ifindex)
		return VERDICT_LOCAL;
	return !is_own(ctx) && is_loopback(&dest->rip) ? VERDICT_LOOPBACK : VERDICT_COUNT;
}

/* hand_up gives a translated packet to the stack, of a client on the director by lo. */
static __noinline enum verdict hand_up(struct xdp_md *ctx, struct packet *pkt)
{
	const struct hop lo = by_loopback();
	const int own = is_own(ctx);

	if (pkt->sending != SENDING_BEHIND)
		return VERDICT_LOCAL;
	if (own && !address_frame(ctx, &lo))
		return VERDICT_NO_ROOM;
	return pass_down(ctx, &pkt->handover, own ? lo.ifindex : 0) ? VERDICT_LOCAL
								    : VERDICT_NO_ROOM;
}

/* forward_part sends a packet or a fragment from the client on to the real server, by its
 * connection's flags. */
static __always_inline enum verdict forward_part(struct xdp_md *ctx, struct packet *pkt,
						 enum part part, enum conn_flags flags, __u32 key,
						 const struct dest *dest,
						 const struct interface *from)
{
	enum forwarding forwarding = flags & CONN_FORWARDING;
	__u32 overhead = forwarding == FORWARDING_TUNNEL ? tunnel_overhead(dest) : 0;
	enum verdict verdict;

	if (unlikely(dest->flags & DEST_LOCAL)) {
		verdict = judge_local(ctx, dest, forwarding);
	} else {
		verdict = check_limits(pkt, dest, forwarding, overhead, from);
		/* kernel: __ip_vs_get_out_rt() lessens TTL before it looks at the MTU */
		if (verdict != VERDICT_TTL_EXCEEDED && verdict != VERDICT_NO_ROUTE)
			lessen_hop_limit(pkt);
	}
	if (unlikely(verdict != VERDICT_COUNT)) {
		pkt->mtu = dest->mtu - overhead;
		return verdict;
	}

	pkt->next = dest->next;
	switch (forwarding) {
	case FORWARDING_MASQ:
		if (part == PART_LATER)
			replace_destination(pkt, &dest->rip);
		else
			masquerade(ctx, pkt, dest, real_port(flags, dest, pkt->flow.port.dest));
		if (unlikely(dest->flags & DEST_LOCAL))
			return hand_up(ctx, pkt);
		return VERDICT_MASQ_IN;
	case FORWARDING_TUNNEL:
		return encapsulate(ctx, pkt, dest, key) ? VERDICT_TUNNEL : VERDICT_NO_ROOM;
	default:
		return VERDICT_ROUTE;
	}
}

static __always_inline enum verdict forward_request(struct xdp_md *ctx, struct packet *pkt,
						    enum conn_flags flags, __u32 key,
						    const struct dest *dest,
						    const struct interface *from)
{
	return forward_part(ctx, pkt, PART_HEADED, flags, key, dest, from);
}

static __always_inline void address_lookup(struct bpf_fib_lookup *fib, const union addr *from,
					   const union addr *to)
{
	if (is_ipv4(to)) {
		fib->family = AF_INET;
		fib->ipv4_src = to_ipv4(from);
		fib->ipv4_dst = to_ipv4(to);
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, from, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, to, sizeof(fib->ipv6_dst));
	}
}

/*
 * find_client_hop looks the way to the client up anew: what the FIB says, else
 * what the connection has, the way by which the request came.
 */
static __noinline void find_client_hop(struct xdp_md *ctx, struct conn *conn, __u32 arrival)
{
	struct bpf_fib_lookup fib = { .ifindex = arrival };
	__u16 epoch = READ_ONCE(settings.epoch);

	address_lookup(&fib, &conn->vip, &conn->cip);
	/* What is link-local means another host on each link: it is where its request came from. */
	if (!is_link_local(&conn->cip) &&
	    bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(conn->rest.hop.mac, fib.dmac, sizeof(conn->rest.hop.mac));
		conn->rest.hop.ifindex = fib.ifindex;
	}
	conn->hop_epoch = epoch;
}

/* set_client_hop sends the packet the way to the client, cached while no route or neighbour
 * changed. */
static __always_inline int set_client_hop(struct xdp_md *ctx, struct packet *pkt, struct conn *conn)
{
	const struct interface *out;

	if (conn->hop_epoch != READ_ONCE(settings.epoch))
		find_client_hop(ctx, conn, arrival_of(pkt)->ifindex);
	out = find_interface(conn->rest.hop.ifindex);
	if (!out->ifindex || (__u16)out->ifindex != conn->rest.hop.ifindex)
		return 0;
	if (unlikely(out->flags & INTERFACE_LOCAL)) /* XDP cannot send to lo */
		pkt->sending = SENDING_BEHIND;
	pkt->next = client_hop_by(&conn->rest.hop, out);
	return 1;
}

/* return_part sends a NAT real server's packet or fragment back to the client, from the VIP. */
static __always_inline enum verdict return_part(struct xdp_md *ctx, struct packet *pkt,
						enum part part, struct conn *conn,
						const struct interface *from)
{
	if (!set_client_hop(ctx, pkt, conn))
		return VERDICT_NO_PORT;
	if (unlikely(is_merged(pkt, from)) && !can_send_merged(pkt, pkt->next.ifindex, from)) {
		pkt->next.ifindex = 0;
		return VERDICT_MERGED;
	}
	pkt->mtu = find_interface(pkt->next.ifindex)->mtu;
	if (unlikely(pkt->length > pkt->mtu) && !is_merged(pkt, from) &&
	    (!may_be_fragmented(pkt) || must_split(pkt, pkt->mtu, from) != VERDICT_COUNT))
		return may_be_fragmented(pkt) ? VERDICT_NEEDS_FRAGMENTING : VERDICT_TOO_BIG;
	lessen_hop_limit(pkt);
	if (part == PART_LATER)
		replace_source(pkt, &conn->vip);
	else
		unmasquerade(ctx, pkt, conn);
	return VERDICT_MASQ_OUT;
}

static __always_inline enum verdict forward_reply(struct xdp_md *ctx, struct packet *pkt,
						  struct conn *conn, const struct interface *from)
{
	return return_part(ctx, pkt, PART_HEADED, conn, from);
}

#endif
