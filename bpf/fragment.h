/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Fragments. Only the first has ports: it is balanced like a whole packet and
 * remembered for a while, and those that come after it follow it. For one that
 * comes before its first: early.h.
 */
#ifndef LVSX_FRAGMENT_H
#define LVSX_FRAGMENT_H

#include "conn.h"
#include "early.h"
#include "extension.h"
#include "forward.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"

/* Bytes of its packet that a fragment has. */
static __always_inline __u32 fragment_size(const struct packet *pkt)
{
	return pkt->length - header_length(pkt);
}

/* read_fragment reads where in which packet a fragment is, and tells whether more follow. */
static __always_inline int read_fragment(struct xdp_md *ctx, struct packet *pkt)
{
	struct chain chain = { .place = sizeof(struct ethhdr) + sizeof(struct ipv6hdr) };

	if (!pkt->ipv6) {
		pkt->fragment_id = pkt->ip->id;
		pkt->fragment_offset = (bpf_ntohs(pkt->ip->frag_off) & IP_OFFSET) * 8;
		return !!(pkt->ip->frag_off & bpf_htons(IP_MF));
	}
	chain.protocol = pkt->ip6->nexthdr;
	follow_all(ctx, &chain);
	pkt->fragment_id = chain.id;
	pkt->fragment_offset = chain.offset;
	return chain.more;
}

static __always_inline __u32 transport_size(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return sizeof(struct tcphdr);
	case IPPROTO_SCTP:
		return sizeof(struct sctp_header);
	default:
		return sizeof(struct udphdr);
	}
}

/*
 * RFC 1858, RFC 8200 section 4.5: a header that is cut, or overwritten later; an
 * end between two units; more than a packet can be.
 */
static __always_inline int is_bad(const struct packet *pkt, int more)
{
	__u32 header = transport_size(pkt->flow.proto);
	__u32 size = fragment_size(pkt), offset = pkt->fragment_offset;

	if (!size || (more && size % 8) || offset + size > 0xffff)
		return 1;
	return offset ? offset < header : size < header;
}

static __always_inline struct fragment_key fragment_key(const struct packet *pkt)
{
	return (struct fragment_key){
		.src = pkt->flow.src,
		.dst = pkt->flow.dst,
		.id = pkt->fragment_id,
		.proto = pkt->flow.proto,
	};
}

/* note_first lets later fragments follow the first, which is balanced now. */
static __always_inline enum verdict note_first(struct packet *pkt)
{
	struct fragment_key key = fragment_key(pkt);
	const struct ports *ports = pkt->l4;
	struct fragment first = {
		.expires = pkt->moment.now + settings.fragment_life,
		.once = DEST_NONE,
		.end = fragment_size(pkt),
	};

	if ((void *)(ports + 1) > pkt->end)
		return VERDICT_MALFORMED;
	first.source = ports->source;
	first.dest = ports->dest;
	/* Full of first fragments of this very moment it forgets some: not this packet's fault. */
	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
	return VERDICT_COUNT;
}

/* follow_once lets the later fragments of a packet without a connection go where it goes. */
static __noinline void follow_once(struct xdp_md *ctx, struct packet *pkt, __u32 dest)
{
	struct fragment_key key;
	struct fragment *first;

	read_fragment(ctx, pkt);
	key = fragment_key(pkt);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (first)
		first->once = dest;
}

/* RFC 1122, section 3.2.2: only a first fragment is answered. */
static __always_inline enum verdict in_silence(enum verdict verdict)
{
	if (verdict == VERDICT_TOO_BIG)
		return VERDICT_NEEDS_FRAGMENTING;
	return is_answered(verdict) ? VERDICT_FRAGMENT : verdict;
}

static __always_inline enum verdict request_later(struct xdp_md *ctx, struct packet *pkt,
						  enum conn_flags flags, __u32 key, __u32 size,
						  const struct interface *from)
{
	const struct dest *dest = dest_by(key);

	if (!dest || !(dest->flags & DEST_AVAILABLE))
		return VERDICT_DESTINATION_GONE;
	count_rest_in(key, size);
	return in_silence(forward_part(ctx, pkt, PART_LATER, flags, key, dest, from));
}

static __always_inline enum verdict reply_later(struct xdp_md *ctx, struct packet *pkt,
						const struct found *found, __u32 size,
						const struct interface *from)
{
	__u32 key = found->dest;
	const struct dest *dest = dest_by(key);

	if (hop_limit(pkt) <= 1)
		return VERDICT_REPLY_EXPIRED;
	if (dest && dest->flags & DEST_AVAILABLE)
		count_rest_out(key, size);
	return in_silence(return_part(ctx, pkt, PART_LATER, found->conn, from));
}

/* later sends a fragment the way of its first. */
static __noinline enum verdict later(struct xdp_md *ctx, struct packet *pkt,
				     const struct interface *from)
{
	__u32 size = fragment_size(pkt);
	struct fragment_key key = fragment_key(pkt);
	struct fragment *first = bpf_map_lookup_elem(&fragments, &key);
	struct found found = {};
	struct dest *dest;
	__u32 once;

	if (!first || (__s32)(first->expires - pkt->moment.now) <= 0)
		return keep(ctx, pkt, &key);
	if (pkt->fragment_offset <
	    first->end) { /* over the first: none of the others may be right */
		bpf_map_delete_elem(&fragments, &key);
		return VERDICT_BAD_FRAGMENT;
	}
	pkt->flow.port.source = first->source;
	pkt->flow.port.dest = first->dest;
	once = first->once;
	if (once != DEST_NONE) {
		dest = dest_by(once);
		return dest ? request_later(ctx, pkt, (enum conn_flags)dest->forwarding, once, size,
					    from)
			    : VERDICT_DESTINATION_GONE;
	}
	if (may_be_rip(&pkt->flow.src) && find_anywhere(&pkt->flow, REPLY, pkt->moment.now, &found))
		return reply_later(ctx, pkt, &found, size, from);
	if (find_anywhere(&pkt->flow, REQUEST, pkt->moment.now, &found))
		return request_later(ctx, pkt, found.conn->flags, found.dest, size, from);
	return VERDICT_FRAGMENT;
}

/*
 * has_same_ports tells whether the ports of an SCTP packet are the same behind the
 * director. Where NAT changes one, the checksum is over fragments that are not
 * there.
 */
static __always_inline int has_same_ports(struct packet *pkt)
{
	const struct ports *ports = pkt->l4;
	struct found found = {};
	struct dest *dest;
	__u32 key;

	if ((void *)(ports + 1) > pkt->end)
		return 0;
	pkt->flow.port = *ports;
	if (!find_anywhere(&pkt->flow, REQUEST, pkt->moment.now, &found) &&
	    !find_anywhere(&pkt->flow, REPLY, pkt->moment.now, &found))
		return 0;
	key = found.dest;
	dest = dest_by(key);
	return dest && (forwarding_of(found.conn) != FORWARDING_MASQ ||
			real_port(found.conn->flags, dest, found.conn->vport) == found.conn->vport);
}

/* What assort() says to take_any(), to which a first fragment goes on. */
enum assorted {
	ASSORTED_NOT,
	ASSORTED_FIRST = 1,
	ASSORTED_WHOLE = 2, /* RFC 6946: a packet in one piece */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32); /* enum assorted */
} assorted SEC(".maps");

static __always_inline void note_assorted(enum assorted as)
{
	__u32 cpu = 0, *is = bpf_map_lookup_elem(&assorted, &cpu);

	if (is)
		*is = as;
}

static __always_inline int is_first(const struct packet *pkt)
{
	return pkt->ipv6 ? !pkt->fragment_offset : !(pkt->ip->frag_off & bpf_htons(IP_OFFSET));
}

/* is_assorted tells whether assort() let a first fragment go on, and forgets it. */
static __always_inline int is_assorted(struct packet *pkt)
{
	__u32 cpu = 0, *is = bpf_map_lookup_elem(&assorted, &cpu);

	if (!is || *is == ASSORTED_NOT || !is_first(pkt))
		return 0;
	pkt->fragmented = *is & ASSORTED_FIRST; /* without a branch, for the verifier */
	*is = ASSORTED_NOT;
	return 1;
}

/*
 * assort reads a fragment's place, and sends one with an offset the way of its
 * first. VERDICT_COUNT: it is a first one, which goes on as a whole packet does.
 */
static __always_inline enum verdict assort(struct xdp_md *ctx, struct packet *pkt)
{
	const struct interface *from = arrival_of(pkt);
	int more = read_fragment(ctx, pkt);
	enum verdict verdict;

	pkt->sending = sending_from(from);
	if (!pkt->fragment_offset && !more) {
		note_assorted(ASSORTED_WHOLE);
		return VERDICT_COUNT;
	}
	if (is_bad(pkt, more))
		return VERDICT_BAD_FRAGMENT;
	if (pkt->fragment_offset)
		return later(ctx, pkt, from);
	if (pkt->flow.proto == IPPROTO_SCTP && !has_same_ports(pkt))
		return VERDICT_FRAGMENT;
	verdict = note_first(pkt);
	if (verdict == VERDICT_COUNT)
		note_assorted(ASSORTED_FIRST);
	return verdict;
}

#endif
