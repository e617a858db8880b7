/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/*
 * The decapsulator of a real server: takes the tunnel's header off packets
 * that a director sent, where the kernel has no tunl0 to do it.
 *
 *   before   Ethernet | outer IPv4: director > real server | inner IPv4: client > VIP | ...
 *   after               Ethernet | inner IPv4: client > VIP | ...
 *
 * A tunnel is a way around address filters, so all that is not exactly what
 * a director makes is dropped, each reason counted under its own name.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Go names these as they are spelt here, without VERDICT_. */
enum verdict {
	VERDICT_NOT_TUNNEL,    /* no IPv4 tunnel packet: none of our business */
	VERDICT_NOT_OURS,      /* a tunnel packet to another machine */
	VERDICT_UNWRAPPED,     /* handed to the kernel without its outer header */
	VERDICT_OUTER_OPTIONS, /* directors send no IP options */
	VERDICT_OUTER_CHECKSUM,
	VERDICT_OUTER_FRAGMENT, /* XDP sees no reassembled packets */
	VERDICT_UNTRUSTED,	/* not sent by one of the given directors */
	VERDICT_MALFORMED,	/* no whole IPv4 packet inside */
	VERDICT_NESTED,		/* a tunnel in the tunnel */
	VERDICT_INNER_FRAGMENT, /* a fragment that only an attacker makes */
	VERDICT_NOT_VIP,	/* inner destination is none of the given VIPs */
	VERDICT_CONGESTION,	/* RFC 6040, section 4.2: mark on a packet that cannot carry it */
	VERDICT_NO_ROOM,	/* the kernel refused to move the packet's start */
	VERDICT_COUNT,
};

#define ECN_MASK 3
#define ECN_CE 3

#define FRAGMENT_OFFSET 0x1fff /* in units of 8 bytes */
#define FRAGMENT_ANY 0x3fff    /* offset or more fragments */

/* A set of IPv4 addresses in network order; the value says nothing. */
struct address_set {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, __u8);
};

struct address_set directors SEC(".maps");
struct address_set rips SEC(".maps");
struct address_set vips SEC(".maps");

/* Packets by verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICT_COUNT);
	__type(key, enum verdict);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline bool contains(void *set, __be32 address)
{
	return bpf_map_lookup_elem(set, &address) != NULL;
}

/* Folds the one's complement sum of a header without options; 0xffff if its checksum is right. */
static __always_inline __u16 header_sum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* RFC 2003, and who may use it. */
static __always_inline enum verdict check_outer(const struct iphdr *outer, __u64 length)
{
	if (!contains(&rips, outer->daddr))
		return VERDICT_NOT_OURS;
	if (outer->ihl != 5)
		return VERDICT_OUTER_OPTIONS;
	if (header_sum(outer) != 0xffff)
		return VERDICT_OUTER_CHECKSUM;
	if (outer->frag_off & bpf_htons(FRAGMENT_ANY))
		return VERDICT_OUTER_FRAGMENT;
	if (!contains(&directors, outer->saddr))
		return VERDICT_UNTRUSTED;
	if (bpf_ntohs(outer->tot_len) > length)
		return VERDICT_MALFORMED;
	return VERDICT_UNWRAPPED;
}

static __always_inline bool is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE;
}

/*
 * RFC 1858: a fragment that starts eight bytes into the packet overwrites what
 * a filter saw of the TCP header; one that ends behind 65535 is no IP packet.
 */
static __always_inline bool is_odd_fragment(const struct iphdr *inner)
{
	__u32 offset = bpf_ntohs(inner->frag_off) & FRAGMENT_OFFSET;

	return offset == 1 || offset * 8 + bpf_ntohs(inner->tot_len) > 65535;
}

/* The kernel checks the inner header's checksum and source itself. */
static __always_inline enum verdict check_inner(const struct iphdr *inner, __u64 length)
{
	if (inner->version != 4 || inner->ihl < 5)
		return VERDICT_MALFORMED;
	if (bpf_ntohs(inner->tot_len) < inner->ihl * 4 || bpf_ntohs(inner->tot_len) > length)
		return VERDICT_MALFORMED;
	if (is_tunnel(inner->protocol))
		return VERDICT_NESTED;
	if (is_odd_fragment(inner))
		return VERDICT_INNER_FRAGMENT;
	if (!contains(&vips, inner->daddr))
		return VERDICT_NOT_VIP;
	return VERDICT_UNWRAPPED;
}

/*
 * A router on the way of the tunnel can mark congestion only in the outer
 * header (RFC 6040, section 4.2; the kernel's INET_ECN_decapsulate).
 */
static __always_inline enum verdict carry_congestion(const struct iphdr *outer, struct iphdr *inner)
{
	__u8 ecn = inner->tos & ECN_MASK;
	__u32 sum;

	if ((outer->tos & ECN_MASK) != ECN_CE || ecn == ECN_CE)
		return VERDICT_UNWRAPPED;
	if (!ecn)
		return VERDICT_CONGESTION;
	/* RFC 1624, equation 3, for the word that ends in tos. */
	sum = bpf_ntohs(inner->check) + (__u16) ~(ECN_CE - ecn);
	inner->tos |= ECN_CE;
	sum = (sum & 0xffff) + (sum >> 16);
	inner->check = bpf_htons((sum & 0xffff) + (sum >> 16));
	return VERDICT_UNWRAPPED;
}

/* Moves the Ethernet header up to the inner packet and cuts off what lies before. */
static __always_inline enum verdict unwrap(struct xdp_md *ctx, const struct ethhdr *eth,
					   struct iphdr *inner)
{
	struct ethhdr header = *eth;

	*((struct ethhdr *)inner - 1) = header;
	if (bpf_xdp_adjust_head(ctx, sizeof(struct iphdr)))
		return VERDICT_NO_ROOM;
	return VERDICT_UNWRAPPED;
}

static __always_inline enum verdict decapsulate(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *outer = (void *)(eth + 1);
	struct iphdr *inner = outer + 1;
	enum verdict verdict;
	__u64 length;

	if ((void *)(outer + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return VERDICT_NOT_TUNNEL;
	if (outer->version != 4 || outer->ihl < 5 || outer->protocol != IPPROTO_IPIP)
		return VERDICT_NOT_TUNNEL;

	/* Packets merged by GRO lie in several buffers: end is not their end. */
	length = bpf_xdp_get_buff_len(ctx) - sizeof(*eth);
	verdict = check_outer(outer, length);
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;

	if ((void *)(inner + 1) > end || bpf_ntohs(outer->tot_len) < 2 * sizeof(*outer))
		return VERDICT_MALFORMED;
	verdict = check_inner(inner, bpf_ntohs(outer->tot_len) - sizeof(*outer));
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;

	verdict = carry_congestion(outer, inner);
	if (verdict != VERDICT_UNWRAPPED)
		return verdict;
	return unwrap(ctx, eth, inner);
}

static __always_inline void count(enum verdict verdict)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);

	if (packets)
		(*packets)++;
}

/* xdp.frags: jumbo frames and merged packets, of which only the headers are read. */
SEC("xdp.frags")
int decap(struct xdp_md *ctx)
{
	enum verdict verdict = decapsulate(ctx);

	count(verdict);
	switch (verdict) {
	case VERDICT_NOT_TUNNEL:
	case VERDICT_NOT_OURS:
	case VERDICT_UNWRAPPED:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
