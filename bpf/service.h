/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which packets are for a virtual service. */
#ifndef LVSX_SERVICE_H
#define LVSX_SERVICE_H

#include "ether.h"
#include "interface.h"
#include "maps.h"
#include "mark.h"
#include "packet.h"
#include "types.h"

#define FTP_PORT 21
#define FTP_DATA_PORT 20

#define SERVICE_NONE 0xffffffff

/*
 * What an address may be. Its words are folded, so that those before an IPv4 address make
 * nothing. The director computes the same: internal/dataplane/filter.go.
 */
static __always_inline enum filter_use filter_uses(const union addr *addr)
{
	__u64 half = addr->halves[0] ^ addr->halves[1];
	__u32 folded = half ^ half >> 32 ^ bpf_htonl(0xffff);

	return filter[folded * 0x61c88647u >> (32 - FILTER_BITS)];
}

static __always_inline int may_be_vip(const union addr *addr)
{
	return filter_uses(addr) & FILTER_VIP;
}

static __always_inline int may_be_rip(const union addr *addr)
{
	return filter_uses(addr) & FILTER_RIP;
}

/* is_own tells whether a packet was sent by the director itself (local.h). */
static __always_inline int is_own(const struct xdp_md *ctx)
{
	return ctx->ingress_ifindex == settings.local_ifindex;
}

static __always_inline const struct interface *arrival_of(const struct packet *pkt)
{
	return find_interface(pkt->arrival);
}

/* Who sends what came by an interface. */
static __always_inline enum sending sending_from(const struct interface *from)
{
	return from->flags & INTERFACE_HANDS_OVER ? SENDING_BEHIND : SENDING_XDP;
}

/* A switch may flood what is for others; the kernel's IPVS leaves that alone, too. */
static __always_inline int is_for_us(const struct packet *pkt, const struct interface *from)
{
	return (__u16)from->ifindex == pkt->arrival && is_same_mac(pkt->eth->h_dest, from->mac);
}

/* The number of the service that has a key, or SERVICE_NONE. */
static __always_inline __u32 number_of(const struct service_key *key)
{
	__u32 *number = bpf_map_lookup_elem(&service_index, key);

	return number ? *number : SERVICE_NONE;
}

/* The service of the packet's mark. */
static __always_inline __u32 find_marked_service(const struct flow *flow)
{
	struct service_key key = {};

	/* Who has no rules pays nothing for them. */
	if (!READ_ONCE(settings.mark_rules))
		return SERVICE_NONE;
	key.mark = find_mark(flow);
	if (!key.mark)
		return SERVICE_NONE;
	if (is_ipv4(&flow->dst))
		key.vip = from_ipv4(0);
	return number_of(&key);
}

/* A port to which an FTP server may have data sent, or from which it sends. */
static __always_inline int is_ftp_data(__be16 port)
{
	return port == bpf_htons(FTP_DATA_PORT) || bpf_ntohs(port) >= settings.unprivileged_port;
}

/* The service that takes packets to other ports than its own: FTP's, then one of port 0. */
static __always_inline __u32 find_wildcard(struct service_key *key)
{
	__u32 number = SERVICE_NONE;

	if (settings.wildcards & WILDCARD_FTP && key->proto == IPPROTO_TCP &&
	    is_ftp_data(key->port)) {
		key->port = bpf_htons(FTP_PORT);
		number = number_of(key);
	}
	if (number != SERVICE_NONE || !(settings.wildcards & WILDCARD_PORT_ZERO))
		return number;
	key->port = 0;
	return number_of(key);
}

static __always_inline __u32 *hint_of(const struct flow *flow)
{
	const __u32 multiplier = 0x61c88647u;
	__u64 half = flow->dst.halves[0] ^ flow->dst.halves[1];
	__u32 hash = (half ^ half >> 32) * multiplier;

	hash = (hash ^ (flow->port.dest | flow->proto << 16)) * multiplier;
	hash >>= 32 - SERVICE_HINT_BITS;
	return bpf_map_lookup_elem(&service_hints, &hash);
}

/* is_service_of compares what has been configured meanwhile. */
static __always_inline int is_service_of(const struct service *service, const struct flow *flow)
{
	return service->use == SERVICE_CONFIGURED && is_equal(&service->key.vip, &flow->dst) &&
	       service->key.port == flow->port.dest && service->key.proto == flow->proto &&
	       !service->key.mark;
}

/* guess_service returns the packet's service and its number, if it has a hint, or NULL. */
static __always_inline struct service *guess_service(const struct flow *flow, __u32 *number)
{
	const __u32 *hint = hint_of(flow);
	struct service *service;

	/* Marks go first. */
	if (!hint || READ_ONCE(settings.mark_rules))
		return NULL;
	*number = READ_ONCE(*hint) - 1;
	service = bpf_map_lookup_elem(&services, number);
	return service && is_service_of(service, flow) ? service : NULL;
}

/* give_hint tells the next packets of a service what this one found. */
static __always_inline void give_hint(const struct flow *flow, __u32 number)
{
	__u32 *hint = hint_of(flow);

	if (hint)
		*(volatile __u32 *)hint = number + 1;
}

/*
 * The number in services of the service that a packet is for, or SERVICE_NONE
 * (ip_vs_ctl.c: ip_vs_service_find()). A function of its own for its keys'
 * place on the stack.
 */
__noinline __u32 find_service(const struct flow *flow)
{
	struct service_key key = {};
	__u32 number;

	if (!flow)
		return SERVICE_NONE;
	number = find_marked_service(flow);
	if (number != SERVICE_NONE)
		return number;
	key.vip = flow->dst;
	key.port = flow->port.dest;
	key.proto = flow->proto;
	number = number_of(&key);
	if (number == SERVICE_NONE)
		return settings.wildcards ? find_wildcard(&key) : SERVICE_NONE;
	give_hint(flow, number);
	return number;
}

#endif
