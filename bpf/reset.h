/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections that end before their time: killed by a user, or left without
 * their real server by one who wants that told. Both ends hear of it from RSTs
 * that are made of their own packets, so that each has the sequence number that
 * its receiver expects next, the only one that is taken at once (RFC 5961
 * section 3). A packet becomes one RST: of the client's packets the first goes
 * on to the real server as a RST, the next is answered by one, and so in turn
 * until both are silent.
 */
#ifndef LVSX_RESET_H
#define LVSX_RESET_H

#include <stddef.h>

#include "conn.h"
#include "csum.h"
#include "frame.h"
#include "icmp.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"

static __always_inline int is_gone(const struct dest *dest)
{
	return !dest || !(dest->flags & DEST_AVAILABLE);
}

static __always_inline int is_killed(const struct found *found)
{
	return state_of(found->life) == STATE_KILLED;
}

static __always_inline int is_parting(const struct found *found, const struct dest *dest)
{
	return is_killed(found) || is_gone(dest);
}

static __always_inline enum removal removal_of(const struct dest *dest)
{
	__u32 key = dest ? dest->service : 0;
	const struct service *service = bpf_map_lookup_elem(&services, &key);

	return dest && service ? service->removal : REMOVAL_SILENT;
}

/* starts_anew tells whether a packet of such a connection is handled as if there were none. */
static __noinline int starts_anew(const struct packet *pkt, const struct found *found,
				  const struct dest *dest)
{
	enum removal removal = removal_of(dest);

	if (is_killed(found))
		return pkt->event == EVENT_SYN;
	if (removal == REMOVAL_SILENT)
		return settings.switches.expire_nodest_conn;
	return pkt->flow.proto == IPPROTO_TCP ? pkt->event == EVENT_SYN : removal == REMOVAL_MOVE;
}

/* kill makes both ends of a connection hear of its end: whoever sends. */
static __always_inline void kill(struct found *found, __u32 now)
{
	__u32 life = with_state(found->life, STATE_KILLED);
	struct conn *conn = found->conn;

	conn->flags |= CONN_PACKETS;
	if (!exchange(found, life))
		return;
	if (is_active(state_of(found->life)))
		account_activity(found->dest, -1);
	conn->expires = now + settings.timeouts[0].states[STATE_KILLED];
	found->life = life;
}

static __always_inline struct cut *find_cut(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&cuts, &key);
}

static __always_inline void tell_cut(struct left *left)
{
	const struct cut *cut = find_cut();

	if (cut)
		left->cut = *cut;
}

/* Where the segment is after the packet was cut behind its header, NULL if that is nowhere. */
static __always_inline struct tcphdr *find_segment(struct xdp_md *ctx, struct packet *pkt,
						   __u32 place)
{
	struct tcphdr *tcp = at(ctx, place, sizeof(*tcp));

	pkt->end = (void *)(long)ctx->data_end;
	pkt->eth = (void *)(long)ctx->data;
	pkt->ip = (void *)(pkt->eth + 1);
	if (!tcp || (void *)(pkt->ip + 1) > pkt->end)
		return NULL;
	pkt->l4 = tcp;
	pkt->check = &tcp->check;
	return tcp;
}

/* set_length gives the packet's IP header a new length of all. */
static __always_inline int set_length(struct packet *pkt, __u16 length)
{
	pkt->length = length;
	if (pkt->ipv6) {
		if ((void *)(pkt->ip6 + 1) > pkt->end)
			return 0;
		pkt->ip6->payload_len = bpf_htons(length - sizeof(*pkt->ip6));
		return 1;
	}
	pkt->ip->check =
		csum_apply(pkt->ip->check, csum_change16(pkt->ip->tot_len, bpf_htons(length)));
	pkt->ip->tot_len = bpf_htons(length);
	return 1;
}

/* Onwards: at the place of the packet in its sender's stream. */
static __always_inline void write_onward(struct tcphdr *tcp)
{
	struct tcphdr was = *tcp;

	*tcp = (struct tcphdr){
		.source = was.source,
		.dest = was.dest,
		.seq = was.seq,
		.ack_seq = was.ack_seq,
		.doff = sizeof(was) / 4,
		.rst = 1,
		.ack = was.ack,
		.check = was.check,
	};
}

/* Back: where its sender is in the other's stream (RFC 9293 section 3.10.7.1). */
static __always_inline void write_back(struct tcphdr *tcp, __u32 payload)
{
	struct tcphdr was = *tcp;

	*tcp = (struct tcphdr){
		.source = was.dest,
		.dest = was.source,
		.seq = was.ack ? was.ack_seq : 0,
		.ack_seq = was.ack ? 0 : bpf_htonl(bpf_ntohl(was.seq) + payload + was.fin),
		.doff = sizeof(was) / 4,
		.rst = 1,
		.ack = !was.ack,
		.check = was.check,
	};
}

/* net/ipv4/tcp_ipv4.c: tcp_v4_send_reset(); options stay where they are. */
static __always_inline void turn_ipv4(struct iphdr *ip)
{
	__be32 from = ip->saddr;
	__u16 was = *(__u16 *)&ip->ttl;

	ip->saddr = ip->daddr;
	ip->daddr = from;
	ip->check = csum_apply(ip->check, csum_change16(ip->id, 0) +
						  csum_change16(ip->frag_off, bpf_htons(IP_DF)));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = ICMP_TTL;
	ip->check = csum_apply(ip->check, csum_change16(was, *(__u16 *)&ip->ttl));
}

/* turn_round sends the packet back. Its pseudo header's sum is the same both ways. */
static __always_inline void turn_round(struct packet *pkt)
{
	if (!pkt->ipv6) {
		turn_ipv4(pkt->ip);
		return;
	}
	__builtin_memcpy(&pkt->ip6->saddr, &pkt->flow.dst, sizeof(pkt->ip6->saddr));
	__builtin_memcpy(&pkt->ip6->daddr, &pkt->flow.src, sizeof(pkt->ip6->daddr));
	pkt->ip6->hop_limit = ICMP_TTL;
}

/*
 * become_reset makes a RST of a TCP packet, to go on or back to its sender. The
 * checksum follows what changes, here or, if it may be unfinished, behind XDP.
 */
static __noinline int become_reset(struct xdp_md *ctx, struct packet *pkt, int back)
{
	__u32 header = header_length(pkt), place = sizeof(struct ethhdr) + header;
	__u32 size = pkt->length - header, options;
	long frame = pkt->end - (void *)pkt->eth;
	struct tcphdr *tcp = pkt->l4;
	struct cut *cut = find_cut();

	/* Linux 6.1 refuses half-width arithmetic on packet pointers. */
	asm volatile("" : "+r"(frame));
	if (pkt->fragmented || !cut || (void *)(tcp + 1) > pkt->end)
		return 0;
	options = tcp->doff * 4;
	cut->size = bpf_htons(size);
	cut->check = place + offsetof(struct tcphdr, check);
	cut->before = csum_fold(csum_bytes(ctx, place, size, 0));
	if (bpf_xdp_adjust_tail(ctx, (int)(place + sizeof(*tcp) - frame)))
		return 0;
	tcp = find_segment(ctx, pkt, place);
	if (!tcp || !set_length(pkt, header + sizeof(*tcp)))
		return 0;
	if (back) {
		turn_round(pkt);
		write_back(tcp, size > options ? size - options : 0);
	} else {
		write_onward(tcp);
	}
	cut->after = csum_fold(csum_bytes(ctx, place, sizeof(*tcp), 0));
	pkt->cut = 1;
	if (pkt->sending != SENDING_BEHIND)
		tcp->check = csum_apply(tcp->check,
					csum_change16(cut->before, cut->after) +
						csum_change16(cut->size, bpf_htons(sizeof(*tcp))));
	return 1;
}

/* part is what becomes of a client's packet. VERDICT_COUNT: it goes on. */
static __noinline enum verdict part(struct xdp_md *ctx, struct packet *pkt, struct found *found,
				    const struct dest *dest)
{
	struct conn *conn = found->conn;

	if (!is_killed(found)) {
		/* kernel: silence until the connection's time is over */
		if (removal_of(dest) == REMOVAL_SILENT)
			return VERDICT_DESTINATION_GONE;
		if (pkt->flow.proto != IPPROTO_TCP) {
			end(found, pkt->moment.now);
			return VERDICT_RESET;
		}
		kill(found, pkt->moment.now);
	}
	if (pkt->event == EVENT_RST)
		return dest ? VERDICT_COUNT : VERDICT_DESTINATION_GONE;
	if (dest && dest->next.ifindex && hop_limit(pkt) > 1 && conn->flags & CONN_SERVER_UNTOLD) {
		conn->flags &= ~CONN_SERVER_UNTOLD;
		return become_reset(ctx, pkt, 0) ? VERDICT_COUNT : VERDICT_NO_ROOM;
	}
	conn->flags = (conn->flags & ~CONN_CLIENT_UNTOLD) | CONN_SERVER_UNTOLD;
	return VERDICT_RESET;
}

/* send_back answers with a RST, or where there is none with an ICMP error. */
static __always_inline int send_back(struct xdp_md *ctx, struct packet *pkt)
{
	if (pkt->flow.proto != IPPROTO_TCP)
		return refuse(ctx, pkt, VERDICT_NO_DESTINATION);
	__builtin_memcpy(pkt->next.dmac, pkt->eth->h_source, sizeof(pkt->next.dmac));
	__builtin_memcpy(pkt->next.smac, pkt->eth->h_dest, sizeof(pkt->next.smac));
	if (!become_reset(ctx, pkt, 1))
		return 0;
	pkt->handover.work = HANDOVER_BACK;
	pkt->next.ifindex = arrival_of(pkt)->ifindex;
	return 1;
}

#endif
