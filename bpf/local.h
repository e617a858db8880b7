/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Clients and real servers on the director itself. What they send passes no XDP,
 * but a tc program as it leaves: by lo, if it is to an address of the director's,
 * otherwise by the interface that routing chose.
 *
 *   a client's packet  local_out() → an interface of our own: director() → real server
 *                                     none of ours: give_back() → the way it was going
 *   a NAT real server's reply          director() → lo → the client
 *   a local real server's reply        local_out(): from the VIP → the client
 *   an ICMP error about its request, or what it says on an FTP control connection
 *                                      local_out() → director(): from the VIP → the client
 *
 * The kernel's IPVS does the same in its hook LOCAL_OUT, replies before requests
 * (ip_vs_core.c: ip_vs_ops4).
 */
#ifndef LVSX_LOCAL_H
#define LVSX_LOCAL_H

#include <stddef.h>

#include <linux/pkt_cls.h>

#include "conn.h"
#include "handover.h"
#include "maps.h"
#include "nat.h"
#include "outgoing.h"
#include "packet.h"
#include "reset.h"
#include "service.h"
#include "types.h"

/* So large that two segments and their header fit into one IP packet. */
#define LOCAL_MSS 32000

static __always_inline int store_source_ipv4(struct __sk_buff *skb, const union addr *from,
					     const union addr *to)
{
	const __u32 ip = sizeof(struct ethhdr);
	__be32 was = to_ipv4(from), is = to_ipv4(to);

	return !bpf_l3_csum_replace(skb, ip + offsetof(struct iphdr, check), was, is, sizeof(is)) &&
	       !bpf_skb_store_bytes(skb, ip + offsetof(struct iphdr, saddr), &is, sizeof(is), 0);
}

static __always_inline int store_source_ipv6(struct __sk_buff *skb, const union addr *to)
{
	const __u32 ip = sizeof(struct ethhdr);

	return !bpf_skb_store_bytes(skb, ip + offsetof(struct ipv6hdr, saddr), to, sizeof(*to), 0);
}

static __always_inline int store_source(struct __sk_buff *skb, const union addr *from,
					const union addr *to)
{
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? store_source_ipv6(skb, to)
						      : store_source_ipv4(skb, from, to);
}

/*
 * limit_local_segments keeps both ends on the director from segments that are as
 * large as lo takes: the stack would merge two, and no IP header can tell that length.
 * Linux writes the MSS option first (net/ipv4/tcp_output.c: tcp_options_write()).
 */
static __always_inline void limit_local_segments(struct __sk_buff *skb, const struct outgoing *out)
{
	const __u32 place = out->place + sizeof(struct tcphdr);
	struct {
		__u8 kind;
		__u8 size;
		__be16 mss;
	} option;
	__be16 most = bpf_htons(LOCAL_MSS);

	if (out->flow.proto != IPPROTO_TCP || out->event != EVENT_SYN)
		return;
	if (bpf_skb_load_bytes(skb, place, &option, sizeof(option)) || option.kind != 2 ||
	    option.size != sizeof(option) || bpf_ntohs(option.mss) <= LOCAL_MSS)
		return;
	if (!bpf_l4_csum_replace(skb, out->place + offsetof(struct tcphdr, check), option.mss, most,
				 sizeof(most)))
		bpf_skb_store_bytes(skb, place + 2, &most, sizeof(most), 0);
}

/*
 * disguise makes a local real server's reply come from the VIP. SCTP's checksum
 * does not cover addresses; whether it is there or left to hardware, nobody can
 * tell here, so that SCTP cannot change its port.
 */
static __always_inline int disguise(struct __sk_buff *skb, const struct outgoing *out,
				    const struct conn *conn)
{
	const struct flow *flow = &out->flow;
	struct handover left = {
		.proto = flow->proto,
		.check = out->place + (flow->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check)
								  : offsetof(struct udphdr, check)),
		.change = csum_fold(csum_change_addr(&flow->src, &conn->vip)),
		.from_port = flow->port.source,
		.to_port = conn->vport,
	};
	union addr vip = conn->vip;
	__be16 port = conn->vport;

	if (flow->proto == IPPROTO_SCTP && port != flow->port.source)
		return 0;
	return (flow->proto == IPPROTO_SCTP || finish_masquerade(skb, &left)) &&
	       store_source(skb, &flow->src, &vip) &&
	       !bpf_skb_store_bytes(skb, out->place, &port, sizeof(port), 0);
}

/* hear moves a connection on by what its local real server says. */
static __always_inline void hear(struct __sk_buff *skb, const struct outgoing *out,
				 struct found *found, __u32 now)
{
	__u32 key = found->dest;
	const struct dest *dest = dest_by(key);

	if (is_killed(found))
		return;
	if (!is_gone(dest))
		count_out(key, skb->len - sizeof(struct ethhdr));
	limit_local_segments(skb, out);
	step(found, HALF_OUTPUT, out->event, dest ? dest->timeouts : 0, now);
}

static __always_inline void turn_flow(struct flow *to, const struct flow *flow)
{
	to->src = flow->dst;
	to->dst = flow->src;
	to->port.source = flow->port.dest;
	to->port.dest = flow->port.source;
	to->proto = flow->proto;
}

/*
 * is_served_here tells whether a connection without NAT is served by the director.
 * An earlier one of the same client's port may have been, and its real server go on
 * about it.
 */
static __always_inline int is_served_here(const struct found *found)
{
	__u32 key = found->dest;
	const struct dest *dest = dest_by(key);

	return found->conn->flags & FORWARDING_ONE_SIDED && dest && dest->flags & DEST_LOCAL;
}

/*
 * find_served finds the connection that a real server on the director answers on.
 * VERDICT_MASQ_OUT: it is one of NAT, VERDICT_LOCAL: of another method,
 * VERDICT_COUNT: there is none.
 */
static __noinline enum verdict find_served(const struct flow *flow, __u32 now, struct found *found)
{
	struct flow request;

	if (may_be_rip(&flow->src) && find_anywhere(flow, REPLY, now, found))
		return VERDICT_MASQ_OUT;
	turn_flow(&request, flow);
	return may_be_vip(&flow->src) && find_anywhere(&request, REQUEST, now, found) &&
			       is_served_here(found)
		       ? VERDICT_LOCAL
		       : VERDICT_COUNT;
}

static __always_inline struct fragment_key parted_key(const struct outgoing *out)
{
	return (struct fragment_key){
		.src = out->flow.src,
		.dst = out->flow.dst,
		.id = out->id,
		.proto = out->flow.proto,
	};
}

/* note_parted lets the other fragments of a reply follow the first, which leaves before them. */
static __noinline void note_parted(const struct __sk_buff *skb, const struct outgoing *out,
				   __u32 now)
{
	struct fragment_key key = parted_key(out);
	struct fragment first = {
		.source = out->flow.port.source,
		.dest = out->flow.port.dest,
		.expires = now + settings.fragment_life,
		.once = DEST_NONE,
		.end = skb->len - out->place,
	};

	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
}

/*
 * reply_of_local handles what may be a reply of a real server on the director, or the
 * first fragment of one. VERDICT_COUNT: it is none, or is overheard.
 */
static __noinline enum verdict reply_of_local(struct __sk_buff *skb, struct outgoing *out,
					      __u32 now)
{
	struct found found = {};
	enum verdict verdict = find_served(&out->flow, now, &found);

	if (verdict == VERDICT_COUNT)
		return verdict;
	if (unlikely(out->fragmented))
		note_parted(skb, out, now);
	else if (verdict == VERDICT_MASQ_OUT && out->flow.proto == IPPROTO_TCP &&
		 found.conn->vport == bpf_htons(FTP_PORT)) {
		out->overheard = 1;
		return VERDICT_COUNT;
	}
	hear(skb, out, &found, now);
	return verdict == VERDICT_LOCAL || disguise(skb, out, found.conn) ? verdict
									  : VERDICT_NO_ROOM;
}

/* rest_of_local does the same with a later fragment. */
static __noinline enum verdict rest_of_local(struct __sk_buff *skb, struct outgoing *out, __u32 now)
{
	struct fragment_key key = parted_key(out);
	const struct fragment *first = bpf_map_lookup_elem(&fragments, &key);
	struct found found = {};
	enum verdict verdict;
	union addr vip;
	__u32 dest;

	if (!first || (__s32)(first->expires - now) <= 0)
		return VERDICT_COUNT;
	out->flow.port.source = first->source;
	out->flow.port.dest = first->dest;
	verdict = find_served(&out->flow, now, &found);
	if (verdict == VERDICT_COUNT)
		return verdict;
	dest = found.dest;
	if (!is_killed(&found) && !is_gone(dest_by(dest)))
		count_rest_out(dest, skb->len - out->place);
	vip = found.conn->vip;
	return verdict == VERDICT_LOCAL || store_source(skb, &out->flow.src, &vip)
		       ? verdict
		       : VERDICT_NO_ROOM;
}

/* is_request tells whether a packet to a VIP is for a service, or of a connection. */
static __noinline int is_request(const struct outgoing *out, __u32 now)
{
	return find_service(&out->flow) != SERVICE_NONE || locate(&out->flow, REQUEST, now, 0);
}

/* give_director lets the packet come in by the interface of our own. */
static __always_inline int give_director(struct __sk_buff *skb)
{
	const struct interface *own = find_interface(settings.local_ifindex);
	struct origin origin = { .merged = !!skb->gso_size, .ifindex = skb->ifindex };
	__u8 macs[2 * ETH_ALEN];

	__builtin_memcpy(macs, own->mac, sizeof(own->mac));
	__builtin_memcpy(macs + sizeof(own->mac), &origin, sizeof(origin));
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return TC_ACT_UNSPEC;
	return bpf_redirect(own->ifindex, BPF_F_INGRESS);
}

/* send_out is the way of a packet that the director itself sends. */
static __always_inline int send_out(struct __sk_buff *skb, __u32 now)
{
	enum verdict verdict = VERDICT_COUNT;
	struct outgoing out = {};
	int reply, request, headed;

	/* What came from elsewhere has been seen by XDP, or has passed here before; a VLAN's where
	 * it left that. */
	if (skb->ingress_ifindex || skb->vlan_present || !settings.local_ifindex ||
	    !read_headers(skb, &out))
		return TC_ACT_UNSPEC;
	reply = settings.local_servers && (may_be_rip(&out.flow.src) || may_be_vip(&out.flow.src));
	request = may_be_vip(&out.flow.dst);
	if (likely(!reply && !request))
		return TC_ACT_UNSPEC;
	headed = read_transport(skb, &out);
	if (reply && headed)
		verdict = reply_of_local(skb, &out, now);
	else if (reply && out.offset)
		verdict = rest_of_local(skb, &out, now);
	if (verdict == VERDICT_COUNT) {
		/* director() looks at ICMP and fragments. */
		if (!headed || out.fragmented)
			return request || (reply && is_error(skb, &out)) ? give_director(skb)
									 : TC_ACT_UNSPEC;
		if (!out.overheard && (!request || !is_request(&out, now)))
			return TC_ACT_UNSPEC;
		limit_local_segments(skb, &out);
		return give_director(skb);
	}
	count_verdict(verdict);
	return verdict == VERDICT_NO_ROOM ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* return_to_stack lets a packet go on as if nobody had looked at it. */
static __always_inline int return_to_stack(struct __sk_buff *skb)
{
	const __u8 nobody[2 * ETH_ALEN] = {}; /* MACs on lo */
	struct origin origin;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_source), &origin, sizeof(origin)))
		return TC_ACT_SHOT;
	if (origin.ifindex != LOOPBACK_IFINDEX)
		return bpf_redirect_neigh(origin.ifindex, NULL, 0, 0);
	if (bpf_skb_store_bytes(skb, 0, nobody, sizeof(nobody), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

#endif
