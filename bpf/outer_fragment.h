/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Fragments of a tunnel's packet. XDP cannot put packets together, so each
 * becomes a fragment of the packet inside, and the stack puts that together.
 *
 *   the first   outer IP | GRE ... | inner IP | payload            >  inner IP | payload
 *   later ones  outer IP |           more of the inner payload     >  inner IP | more
 *
 * A fragment takes what it needs from the one that ends where it begins: the
 * inner header, and what was kept. Behind headers of IPIP, 20 bytes, inner
 * fragments end in the middle of the outer ones' last 8 bytes, the unit in
 * which offsets count: the half behind that is kept for the next.
 *
 * So none is handed on that comes before its predecessor, twice, or over
 * another. What was noted for one that never comes gives way to others: it can
 * only continue a packet whose beginning the stack has forgotten by then.
 */
#ifndef LVSX_OUTER_FRAGMENT_H
#define LVSX_OUTER_FRAGMENT_H

#include "csum.h"
#include "extension.h"
#include "inner.h"
#include "outer.h"
#include "wrapped.h"

#define UNIT 8 /* of offsets */
#define DONT_FRAGMENT 0x4000
#define HEADER_ROOM 64 /* for IPv4 with all options; a power of two, for the verifier */

/* RFC 1858: nothing begins in the first eight bytes of a packet but the packet. */
#define SMALLEST_FIRST (2 * UNIT)

/* Where a fragment ends, and the next begins. */
struct fragment_end {
	union addr from; /* of the outer header */
	union addr to;
	__u32 id;
	__u32 offset;
	__u8 protocol;
	__u8 pad[7];
};
_Static_assert(sizeof(struct fragment_end) == 48, "fragment_end has holes");

/* What the next fragment needs. Places count from behind the outer header, in bytes. */
struct predecessor {
	/* Of all of the inner packet: struct iphdr with its options, or fragmented_ipv6. */
	__u8 header[HEADER_ROOM] __attribute__((aligned(4)));
	__u32 header_size;
	__u32 start; /* of the inner payload */
	__u32 end;
	__be32 kept; /* the last bytes, if start is in the middle of a unit */
	bool ipv6;
	__u8 pad[3];
};
_Static_assert(sizeof(struct predecessor) == 84, "predecessor has holes");

/* Of some hundred directors, each with ten packets on the way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_end);
	__type(value, struct predecessor);
} predecessors SEC(".maps");

static __always_inline struct fragment_end fragment_end(const struct wrapped *t, __u32 offset)
{
	return (struct fragment_end){
		.from = t->from,
		.to = t->to,
		.id = t->id,
		.offset = offset,
		.protocol = t->protocol,
	};
}

/* has_predecessor tells whether a director's fragment ended where this one begins. */
static __noinline bool has_predecessor(const struct wrapped *t)
{
	struct fragment_end key = fragment_end(t, t->offset);

	return bpf_map_lookup_elem(&predecessors, &key) != NULL;
}

/* The size of an inner header, as the verifier wants it: bounded, and not 0. */
static __always_inline __u32 bounded_size(__u32 size)
{
	asm volatile("" : "+r"(size));
	return ((size - 1) & (HEADER_ROOM - 1)) + 1;
}

/* RFC 6864: the id of a packet that was not to be fragmented means nothing. */
static __always_inline void identify(struct iphdr *ip, __u32 id)
{
	if (ip->frag_off == bpf_htons(DONT_FRAGMENT))
		ip->id = bpf_htons(id);
}

static __always_inline bool read_header_ipv4(struct xdp_md *ctx, const struct wrapped *t,
					     struct predecessor *first)
{
	struct iphdr *inner = at(ctx, t->inner, sizeof(*inner));

	if (!inner)
		return false;
	first->header_size = inner->ihl * 4;
	first->start = t->inner + first->header_size - t->payload;
	if (bpf_xdp_load_bytes(ctx, t->inner, first->header, bounded_size(first->header_size)))
		return false;
	identify((struct iphdr *)first->header, t->id);
	return true;
}

/* Extensions before the fragment's header would have to be told from those behind it. */
static __always_inline bool read_header_ipv6(struct xdp_md *ctx, const struct wrapped *t,
					     struct predecessor *first)
{
	struct fragmented_ipv6 *header = (void *)first->header;

	if (bpf_xdp_load_bytes(ctx, t->inner, &header->ip6, sizeof(header->ip6)) ||
	    is_extension(header->ip6.nexthdr))
		return false;
	header->fragment.next = header->ip6.nexthdr;
	header->fragment.id = bpf_htonl(t->id);
	header->ip6.nexthdr = IPPROTO_FRAGMENT;
	first->ipv6 = true;
	first->header_size = sizeof(*header);
	first->start = t->inner + sizeof(header->ip6) - t->payload;
	return true;
}

static __always_inline void finish_ipv4(struct predecessor *p, __u32 place, __u32 size, bool more)
{
	struct iphdr *ip = (void *)p->header;

	ip->tot_len = bpf_htons(p->header_size + size);
	ip->frag_off = bpf_htons(bpf_ntohs(ip->frag_off) + place / UNIT);
	if (more)
		ip->frag_off |= bpf_htons(FRAGMENT_MORE);
	ip->check = 0;
	ip->check = ~csum_fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)p->header,
						    bounded_size(p->header_size), 0));
}

static __always_inline void finish_ipv6(struct predecessor *p, __u32 place, __u32 size, bool more)
{
	struct fragmented_ipv6 *header = (void *)p->header;

	header->ip6.payload_len = bpf_htons(sizeof(header->fragment) + size);
	header->fragment.offset = bpf_htons(place | more);
}

/* put_inner puts the header right before a place of the frame, in the outer one's stead. */
static __always_inline enum verdict put_inner(struct xdp_md *ctx, struct wrapped *t,
					      struct predecessor *p, __u32 place)
{
	int excess = (int)place - (int)(sizeof(struct ethhdr) + p->header_size);
	struct ethhdr eth;

	if (bpf_xdp_load_bytes(ctx, 0, &eth, sizeof(eth)) || bpf_xdp_adjust_head(ctx, excess))
		return VERDICT_NO_ROOM;
	eth.h_proto = bpf_htons(p->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	if (bpf_xdp_store_bytes(ctx, 0, &eth, sizeof(eth)) ||
	    bpf_xdp_store_bytes(ctx, sizeof(eth), p->header, bounded_size(p->header_size)))
		return VERDICT_NO_ROOM;
	t->inner = sizeof(eth);
	t->ipv6 = p->ipv6;
	return carry_congestion(ctx, t);
}

/* await_next notes for the next fragment what it needs, this one ending at end. */
static __always_inline bool await_next(struct xdp_md *ctx, const struct wrapped *t,
				       struct predecessor *p, __u32 end)
{
	struct fragment_end key = fragment_end(t, end);

	return !bpf_xdp_load_bytes(ctx, t->end - sizeof(p->kept), &p->kept, sizeof(p->kept)) &&
	       !bpf_map_update_elem(&predecessors, &key, p, BPF_ANY);
}

/* is_cut_badly tells whether a fragment that ends there is none of a packet of that length. */
static __always_inline bool is_cut_badly(const struct wrapped *t, const struct predecessor *p,
					 __u32 end)
{
	if (!t->more)
		return end != p->end;
	return end % UNIT || end >= p->end || end == t->offset;
}

/* hand_on makes a fragment of the inner packet of what is from start on. */
static __always_inline enum verdict hand_on(struct xdp_md *ctx, struct wrapped *t,
					    struct predecessor *p, __u32 start)
{
	__u32 end = t->offset + t->end - t->payload;
	__u32 place = start - p->start;
	__u32 kept = t->more ? (end - p->start) % UNIT : 0;

	if (is_cut_badly(t, p, end))
		return VERDICT_BAD_FRAGMENT;
	if (!place && end < start + SMALLEST_FIRST + kept)
		return VERDICT_BAD_FRAGMENT;
	if (t->more && !await_next(ctx, t, p, end))
		return VERDICT_NO_ROOM;
	if (p->ipv6)
		finish_ipv6(p, place, end - kept - start, t->more);
	else
		finish_ipv4(p, place, end - kept - start, t->more);
	return put_inner(ctx, t, p, t->payload + start - t->offset);
}

/* begin_fragments hands on a first fragment, whose headers have been checked. */
static __noinline enum verdict begin_fragments(struct xdp_md *ctx, struct wrapped *t)
{
	struct predecessor first = {};

	/* A checksum that is to be finished is over all of them. */
	if (t->remote)
		return VERDICT_BAD_FRAGMENT;
	if (t->ipv6 ? !read_header_ipv6(ctx, t, &first) : !read_header_ipv4(ctx, t, &first))
		return VERDICT_BAD_FRAGMENT;
	first.end = t->inner_end - t->payload;
	return hand_on(ctx, t, &first, first.start);
}

/* follow_fragment hands on a later fragment, behind what its predecessor kept for it. */
static __noinline enum verdict follow_fragment(struct xdp_md *ctx, struct wrapped *t)
{
	struct fragment_end key = fragment_end(t, t->offset);
	struct predecessor *noted = bpf_map_lookup_elem(&predecessors, &key), p;
	__u32 kept;

	if (!noted)
		return VERDICT_OUTER_FRAGMENT;
	p = *noted;
	bpf_map_delete_elem(&predecessors, &key);
	kept = (t->offset - p.start) % UNIT;
	if (kept && bpf_xdp_store_bytes(ctx, t->payload - sizeof(p.kept), &p.kept, sizeof(p.kept)))
		return VERDICT_NO_ROOM;
	return hand_on(ctx, t, &p, t->offset - kept);
}

#endif
