/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What `lvsx bench` runs by BPF_PROG_TEST_RUN: a driver that makes a packet
 * afresh and tail-calls the program under test, and floors to compare with.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME_SIZE 64
#define SERVER_PORT 80
/* Of IPv6, whose header is longer. */
#define FRAME6_SIZE 80
/* Tunnel headers grow the packet; moving its start back costs as much as a header. */
#define GROWTH_MAX (8 * 20)

#define FLOW_PORT_BITS 12
#define FLOW_PORT_FIRST 0x8000
#define SERVERS_MASK 63

/*
 * A TCP packet of IPv4. Fields are as wide as what reads them: a load that
 * spans two earlier stores waits for both, which no packet from a driver does.
 */
struct link {
	__u64 macs;
	__u32 mac_rest;
	__be16 h_proto;
};

struct segment {
	__be32 ip[3]; /* up to the addresses */
	__be32 saddr;
	__be32 daddr;
	__be16 source;
	__be16 dest;
	__be32 tcp[4];
};
_Static_assert(ETH_HLEN + sizeof(struct segment) <= FRAME_SIZE, "a frame holds a packet");

/* The same of IPv6: each address is the prefix and an IPv4 address's bits. */
struct segment6 {
	__be32 ip[2]; /* up to the addresses */
	__u64 saddr[2];
	__u64 daddr[2];
	__be16 source;
	__be16 dest;
	__be32 tcp[4];
};
_Static_assert(ETH_HLEN + sizeof(struct segment6) <= FRAME6_SIZE, "a frame holds a packet");

/* 2001:db8::/96 */
#define PREFIX6 bpf_cpu_to_be64(0x20010db800000000)

/* The packets to send, and when the first and the last were sent. */
struct batch {
	struct link link;
	struct segment segment; /* all but what the flow says */
	__be32 ip6[2];		/* instead of segment.ip; 0: packets are of IPv4 */
	__u64 sent;
	__u64 warm; /* packets before the clock starts */
	__u64 total;
	__u64 started; /* bpf_ktime_get_ns() */
	__u64 stopped;
	__u32 flow; /* the last one's number */
	__u32 factor;
	__u32 step;
	__u32 mask;
	__u32 scale;   /* how many flows, if those are no power of two; else 0 */
	__u32 clients; /* first address, in the machine's order */
	__u32 servers; /* likewise; 0: packets come from clients */
	__be32 vip;
};

struct batch batch SEC(".data.batch");

/* One entry, so that its index is a constant and the call a jump. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

/* Who sends to whom. */
struct ends {
	__be32 saddr;
	__be32 daddr;
	__be16 source;
	__be16 dest;
};

static __always_inline struct ends next_flow(void)
{
	__be32 client;
	__be16 port;
	__u32 number;

	/* A full-period congruential generator: each flow once, in no order that a CPU foresees. */
	batch.flow = (batch.flow * batch.factor + batch.step) & batch.mask;
	number = batch.scale ? (__u64)batch.flow * batch.scale >> 32 : batch.flow;
	client = bpf_htonl(batch.clients + (number >> FLOW_PORT_BITS));
	port = bpf_htons(FLOW_PORT_FIRST | (number & ((1 << FLOW_PORT_BITS) - 1)));

	if (batch.servers)
		return (struct ends){ bpf_htonl(batch.servers + (number & SERVERS_MASK)), client,
				      bpf_htons(SERVER_PORT), port };
	return (struct ends){ client, batch.vip, port, bpf_htons(SERVER_PORT) };
}

static __always_inline void set_flow(struct segment *segment)
{
	struct ends ends = next_flow();

	segment->saddr = ends.saddr;
	segment->daddr = ends.daddr;
	segment->source = ends.source;
	segment->dest = ends.dest;
}

static __always_inline void set_flow6(struct segment6 *segment)
{
	struct ends ends = next_flow();

	segment->saddr[0] = segment->daddr[0] = PREFIX6;
	segment->saddr[1] = (__u64)ends.saddr << 32;
	segment->daddr[1] = (__u64)ends.daddr << 32;
	segment->source = ends.source;
	segment->dest = ends.dest;
}

static __always_inline void copy_link(struct link *link)
{
	link->macs = batch.link.macs;
	link->mac_rest = batch.link.mac_rest;
	link->h_proto = batch.link.h_proto;
}

static __always_inline void copy_segment(struct segment *segment)
{
	for (int i = 0; i < 3; i++)
		segment->ip[i] = batch.segment.ip[i];
	for (int i = 0; i < 4; i++)
		segment->tcp[i] = batch.segment.tcp[i];
}

static __always_inline void copy_segment6(struct segment6 *segment)
{
	for (int i = 0; i < 2; i++)
		segment->ip[i] = batch.ip6[i];
	for (int i = 0; i < 4; i++)
		segment->tcp[i] = batch.segment.tcp[i];
}

static __always_inline int make_ipv6(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + FRAME6_SIZE > (void *)(long)ctx->data_end)
		return 0;
	copy_link(frame);
	copy_segment6(frame + ETH_HLEN);
	set_flow6(frame + ETH_HLEN);
	return 1;
}

static __always_inline int make_ipv4(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + FRAME_SIZE > (void *)(long)ctx->data_end)
		return 0;
	copy_link(frame);
	copy_segment(frame + ETH_HLEN);
	set_flow(frame + ETH_HLEN);
	return 1;
}

/* The kernel does not restore a packet between repeats. */
SEC("xdp")
int drive(struct xdp_md *ctx)
{
	long size = batch.ip6[0] ? FRAME6_SIZE : FRAME_SIZE;
	long grown = (long)ctx->data_end - (long)ctx->data - size;

	if (batch.sent == batch.warm)
		batch.started = bpf_ktime_get_ns();
	if (batch.sent == batch.total) {
		/* A test run that a signal interrupted is begun again: there may be repeats left.
		 */
		if (!batch.stopped)
			batch.stopped = bpf_ktime_get_ns();
		return XDP_PASS;
	}
	batch.sent++;

	if (grown >= GROWTH_MAX && bpf_xdp_adjust_head(ctx, grown))
		return XDP_ABORTED;
	if (!(batch.ip6[0] ? make_ipv6(ctx) : make_ipv4(ctx)))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

/* The stack takes no packet whose header's checksum is wrong. */
static __always_inline int finish_header(struct xdp_md *ctx)
{
	struct segment *segment = (void *)(long)ctx->data + ETH_HLEN;
	__u16 *check = (void *)segment + 10;
	__u64 sum;

	if ((void *)(segment + 1) > (void *)(long)ctx->data_end)
		return 0;
	*check = 0;
	sum = (__u64)segment->ip[0] + segment->ip[1] + segment->ip[2] + segment->saddr +
	      segment->daddr;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~sum;
	return 1;
}

/*
 * Run on live frames, which go out of the interface that they are said to have
 * come in by. Between batches of them the kernel lets them go their whole way.
 */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	if (!batch.sent)
		batch.started = bpf_ktime_get_ns();
	if (batch.sent == batch.total) {
		if (!batch.stopped)
			batch.stopped = bpf_ktime_get_ns();
		return XDP_DROP;
	}
	batch.sent++;
	if (!make_ipv4(ctx))
		return XDP_ABORTED;
	return finish_header(ctx) ? XDP_TX : XDP_ABORTED;
}

/* The end of a whole way. */
__u64 sunk SEC(".data.sunk");

SEC("xdp")
int sink(struct xdp_md *ctx __attribute__((unused)))
{
	__sync_fetch_and_add(&sunk, 1);
	return XDP_DROP;
}

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ways SEC(".maps");

SEC("xdp")
int floor_redirect(struct xdp_md *ctx __attribute__((unused)))
{
	return bpf_redirect_map(&ways, 0, XDP_DROP);
}

SEC("xdp")
int floor_pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

SEC("xdp")
int floor_mac_swap(struct xdp_md *ctx)
{
	struct {
		__be16 dest[3];
		__be16 source[3];
	} *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	for (int i = 0; i < 3; i++) {
		__be16 half = eth->dest[i];

		eth->dest[i] = eth->source[i];
		eth->source[i] = half;
	}
	return XDP_TX;
}

/* As much memory as the connections of a full table take, a cache line each. */
struct line {
	__u64 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

const volatile __u32 line_count = 1024;

static __always_inline struct line *find_line(struct xdp_md *ctx)
{
	struct segment *segment = (void *)(long)ctx->data + ETH_HLEN;
	__u64 hash;
	__u32 key;

	if ((void *)(segment + 1) > (void *)(long)ctx->data_end)
		return NULL;
	hash = ((__u64)segment->saddr << 16 | segment->source) * 0x9e3779b97f4a7c15ULL;
	key = (hash >> 32) * line_count >> 32;
	return bpf_map_lookup_elem(&lines, &key);
}

/* One line of memory, chosen by the flow. The CPU goes on to the next packets meanwhile. */
SEC("xdp")
int floor_array(struct xdp_md *ctx)
{
	struct line *line = find_line(ctx);

	if (!line)
		return XDP_DROP;
	line->words[0]++;
	return XDP_TX;
}

/* The same, but the next packet's flow, and so its line, is not known before this one is read. */
SEC("xdp")
int floor_wait(struct xdp_md *ctx)
{
	struct line *line = find_line(ctx);

	if (!line)
		return XDP_DROP;
	line->words[0]++;
	batch.flow ^= line->words[1]; /* 0, but the CPU can't know */
	return XDP_TX;
}

struct service_key {
	__be32 vip[4];
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service_key);
	__type(value, __u32);
} services SEC(".maps");

/* Parsing and one lookup in a kernel's hash: the least that a director of kernel maps does. */
SEC("xdp")
int floor_hash(struct xdp_md *ctx)
{
	struct link *link = (void *)(long)ctx->data;
	struct segment *segment = (void *)link + ETH_HLEN;
	struct service_key key = {};

	if ((void *)(segment + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	if (link->h_proto != bpf_htons(ETH_P_IP) || (segment->ip[0] & 0xff) != 0x45)
		return XDP_DROP;
	key.vip[2] = bpf_htonl(0xffff);
	key.vip[3] = segment->daddr;
	key.port = segment->dest;
	key.proto = bpf_ntohl(segment->ip[2]) >> 16 & 0xff;
	return bpf_map_lookup_elem(&services, &key) ? XDP_TX : XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
