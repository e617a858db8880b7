/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Persistence: a client's connections go to one destination. A template in the
 * connection table remembers which (ip_vs_core.c: ip_vs_sched_persist()):
 *
 *   service        protocol  client     virtual    server
 *   of a port      packet's  masked, 0  VIP, port  RIP, port
 *   of port 21, 0  packet's  masked, 0  VIP, 0     RIP, 0
 *   of a mark      none      masked, 0  mark, 0    RIP, 0
 *
 * With an engine the hash of what it goes by is mixed in.
 */
#ifndef LVSX_PERSIST_H
#define LVSX_PERSIST_H

#include "conn.h"
#include "control.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "types.h"

/* Of a template that was moved away: port, real port (ip_vs_check_template()). */
#define MOVED_PORT 0xffff

/* A mark in place of a VIP, where the kernel's union nf_inet_addr has it. */
static __always_inline union addr marked(const union addr *vip, __u32 mark)
{
	union addr addr = { .words = { bpf_htonl(mark) } };

	return is_ipv4(vip) ? from_ipv4(bpf_htonl(mark)) : addr;
}

/* What a request's template is found by, as if it were a packet; too much for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} template_keys SEC(".maps");

/* The mask of word i of an address with a prefix of so many bits. */
static __always_inline __be32 prefix_mask(__u32 bits, __u32 i)
{
	if (bits <= 32 * i)
		return 0;
	bits -= 32 * i;
	return bits >= 32 ? 0xffffffff : bpf_htonl(~(0xffffffffu >> bits));
}

static __always_inline union addr masked(union addr addr, __u32 netmask)
{
	if (is_ipv4(&addr)) {
		addr.words[3] &= netmask;
		return addr;
	}
	addr.words[0] &= prefix_mask(netmask, 0);
	addr.words[1] &= prefix_mask(netmask, 1);
	addr.words[2] &= prefix_mask(netmask, 2);
	addr.words[3] &= prefix_mask(netmask, 3);
	return addr;
}

static __always_inline struct flow *template_key(const struct service *service,
						 const struct flow *flow, __u64 call)
{
	__be16 port = flow->port.dest;
	__u32 cpu = 0;
	struct flow *key = bpf_map_lookup_elem(&template_keys, &cpu);

	if (!key)
		return NULL;
	key->src = masked(flow->src, service->netmask);
	key->dst = flow->dst;
	key->port.dest = port == service->key.port && port != bpf_htons(FTP_PORT) ? port : 0;
	key->proto = flow->proto | PROTO_TEMPLATE;
	if (service->key.mark && port != service->key.port) {
		key->dst = marked(&flow->dst, service->key.mark);
		key->proto = PROTO_TEMPLATE;
	}
	/* Where plain templates have zeros, or what can be had again. */
	key->dst.words[0] ^= call >> 32;
	key->port.source = call;
	return key;
}

/* is_usable tells whether a template's destination may be given connections. */
static __always_inline int is_usable(const struct conn *template)
{
	__u32 key = template->dest;
	const struct dest *dest = dest_by(key);

	if (!dest || !(dest->flags & DEST_AVAILABLE))
		return 0;
	return !settings.switches.expire_quiescent_template || !has_no_weight(dest);
}

/*
 * find_template returns the location of the template by a key, or 0. One that
 * cannot be used is moved away and left to its timer.
 */
static __always_inline __u32 find_template(const struct flow *key, __u32 now)
{
	__u32 location = locate(key, REQUEST, now, 0);
	struct conn *template = location ? conn_at(location) : NULL;

	if (!template)
		return 0;
	if (is_usable(template))
		return location;
	template->flags |= CONN_KEEPS_PORT;
	template->vport = bpf_htons(MOVED_PORT);
	return 0;
}

/*
 * new_template enters a template at a location that was found for it, and
 * returns that, or where another CPU entered the same.
 */
__noinline __u32 new_template(const struct flow *key, const struct service *service, __u32 dest,
			      __u32 now, __u32 location)
{
	struct conn *template = conn_at(location);
	struct found found = {};
	__u32 other;

	if (!key || !service || !template)
		return 0;
	template->rest.persistence.timeout = service->timeout;
	template->rest.persistence.call = 0;
	template->control = 0;
	fill(template, key, dest, key->port.dest ? 0 : CONN_KEEPS_PORT, now + service->timeout);
	account_template(dest, 1);
	publish(template, location, &found);

	other = locate(key, REQUEST, now, location);
	if (!other)
		return location;
	end(&found, now);
	return other;
}

/*
 * hold makes a template control one more connection. 0: it went away, or became
 * another's, in this very moment.
 */
static __always_inline int hold(__u32 location, struct conn *template)
{
	const __u32 *at = life_of(location);
	__u32 life;

	if (!at)
		return 0;
	life = READ_ONCE(*at);
	__sync_fetch_and_add(&template->control, 1);
	if (phase_of(life) == PHASE_LIVE && is_same(READ_ONCE(*at), life))
		return 1;
	__sync_fetch_and_add(&template->control, -1);
	return 0;
}

#endif
