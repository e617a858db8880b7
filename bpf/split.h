/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Cuts a packet that is too big for its way into fragments (RFC 791; RFC 8200,
 * section 4.5, of a tunnel's outer header). XDP cannot make several packets of
 * one, so this is left to the tc program behind it.
 */
#ifndef LVSX_SPLIT_H
#define LVSX_SPLIT_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "csum.h"
#include "extension.h"
#include "packet.h"
#include "types.h"

/* Of a payload: jumbo frames and more. A power of two, for the verifier. */
#define SPLIT_ROOM 0x4000
#define SPLIT_PIECES 32
#define PADDED_LENGTH 128 /* of a frame whose piece is too short to end it */

/* The payload while its pieces are sent; any piece fits behind any place. */
struct split_payload {
	__u8 bytes[2 * SPLIT_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct split_payload);
} split_payloads SEC(".maps");

/* What is cut, and how. */
struct slicing {
	union {
		struct iphdr ip;
		struct fragmented_ipv6 ip6;
	};
	__u32 header;  /* bytes in front of each piece */
	__u32 payload; /* bytes in all */
	__u32 piece;   /* bytes of each but the last, a multiple of 8 */
	__u16 offset;  /* of what is cut, being a fragment itself, in 8 bytes */
	__u16 more;    /* whether more fragments follow all of it */
	__u8 ipv6;
};

/* A place in the payload or a size, as the verifier wants it: bounded, and not 0 if a size. */
static __always_inline __u32 bounded(__u32 value)
{
	asm volatile("" : "+r"(value));
	return value & (SPLIT_ROOM - 1);
}

static __always_inline int read_ipv4(struct __sk_buff *skb, struct slicing *cut)
{
	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &cut->ip, sizeof(cut->ip)) ||
	    cut->ip.ihl != 5)
		return 0;
	cut->header = sizeof(cut->ip);
	cut->payload = bpf_ntohs(cut->ip.tot_len) - sizeof(cut->ip);
	cut->offset = bpf_ntohs(cut->ip.frag_off) & IP_OFFSET;
	cut->more = bpf_ntohs(cut->ip.frag_off) & IP_MF;
	return 1;
}

static __always_inline int read_ipv6(struct __sk_buff *skb, struct slicing *cut)
{
	struct ipv6hdr *ip6 = &cut->ip6.ip6;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), ip6, sizeof(*ip6)))
		return 0;
	cut->ipv6 = 1;
	cut->header = sizeof(cut->ip6);
	cut->payload = bpf_ntohs(ip6->payload_len);
	cut->ip6.fragment = (struct fragment_header){
		.next = ip6->nexthdr,
		.id = bpf_get_prandom_u32(),
	};
	ip6->nexthdr = IPPROTO_FRAGMENT;
	return 1;
}

/* read_cut looks at the packet and takes its payload out of it. */
static __always_inline int read_cut(struct __sk_buff *skb, struct slicing *cut, __u16 mtu,
				    struct split_payload *payload)
{
	__u32 header;
	int whole;

	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		whole = read_ipv6(skb, cut);
	else
		whole = read_ipv4(skb, cut);
	if (!whole || !cut->payload || cut->payload >= SPLIT_ROOM || mtu < cut->header + 8)
		return 0;
	cut->piece = (mtu - cut->header) & ~7;
	header = cut->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	return !bpf_skb_load_bytes(skb, sizeof(struct ethhdr) + header, payload->bytes,
				   bounded(cut->payload - 1) + 1);
}

static __always_inline int put_header(struct __sk_buff *skb, struct slicing *cut, __u32 place,
				      __u32 size, int last)
{
	if (cut->ipv6) {
		cut->ip6.ip6.payload_len = bpf_htons(sizeof(cut->ip6.fragment) + size);
		cut->ip6.fragment.offset = bpf_htons(place | !last);
		return !bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &cut->ip6, sizeof(cut->ip6),
					    0);
	}
	cut->ip.tot_len = bpf_htons(sizeof(cut->ip) + size);
	cut->ip.frag_off = bpf_htons((cut->offset + place / 8) | (last ? cut->more : IP_MF));
	cut->ip.check = 0;
	cut->ip.check = ip_csum(&cut->ip);
	return !bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &cut->ip, sizeof(cut->ip), 0);
}

/*
 * No packet may end before where GRO saw the transport header (net/core/filter.c:
 * __bpf_skb_min_len()), and the last piece may be shorter. It gets padding then,
 * as short frames have anyway (RFC 894).
 */
static __always_inline int resize(struct __sk_buff *skb, __u32 length)
{
	const __u8 padding[PADDED_LENGTH - sizeof(struct ethhdr)] = {};

	if (!bpf_skb_change_tail(skb, length, 0))
		return 1;
	return length < PADDED_LENGTH && !bpf_skb_change_tail(skb, PADDED_LENGTH, 0) &&
	       !bpf_skb_store_bytes(skb, sizeof(struct ethhdr), padding, sizeof(padding), 0);
}

/* put_piece makes the packet that piece of it which begins at place. */
static __always_inline int put_piece(struct __sk_buff *skb, struct slicing *cut,
				     const struct split_payload *payload, __u32 place, __u32 size,
				     int last)
{
	__u32 start = sizeof(struct ethhdr) + cut->header;

	return resize(skb, start + size) && put_header(skb, cut, place, size, last) &&
	       !bpf_skb_store_bytes(skb, start, payload->bytes + bounded(place),
				    bounded(size - 1) + 1, 0);
}

/* The pieces under way. */
struct splitting {
	struct __sk_buff *skb;
	struct split_payload *payload;
	struct slicing cut;
	__u32 place; /* of the next piece */
	__u32 ifindex;
	int whole; /* the packet is its last piece */
};

/* send_piece sends all pieces but the last. It returns 1 when it is done. */
static long send_piece(__u32 i __attribute__((unused)), struct splitting *s)
{
	__u32 size = s->cut.payload - s->place;
	int last = size <= s->cut.piece;

	if (!last)
		size = s->cut.piece;
	if (!put_piece(s->skb, &s->cut, s->payload, s->place, size, last))
		return 1;
	if (last) {
		s->whole = 1;
		return 1;
	}
	bpf_clone_redirect(s->skb, s->ifindex, 0);
	s->place += size;
	return 0;
}

/* split sends a packet on in pieces that fit. */
static __always_inline int split(struct __sk_buff *skb, const struct handover *left)
{
	struct splitting s = { .skb = skb, .ifindex = left->ifindex };
	__u32 key = 0;

	s.payload = bpf_map_lookup_elem(&split_payloads, &key);
	if (!s.payload || !read_cut(skb, &s.cut, left->mtu, s.payload))
		return TC_ACT_SHOT;
	bpf_loop(SPLIT_PIECES, send_piece, &s, 0);
	return s.whole ? bpf_redirect(left->ifindex, 0) : TC_ACT_SHOT;
}

#endif
