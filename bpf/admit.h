/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a request without a connection gets one: whether it may begin one, which
 * destination is chosen, and that it is entered.
 */
#ifndef LVSX_ADMIT_H
#define LVSX_ADMIT_H

#include "conn.h"
#include "forward.h"
#include "ftp.h"
#include "maps.h"
#include "packet.h"
#include "persist.h"
#include "reset.h"
#include "sched.h"
#include "service.h"
#include "sip.h"
#include "types.h"

/*
 * A client that uses its port again after the connection closed gets a new one,
 * unless a template controls the old (ip_vs_core.c: ip_vs_in_hook(),
 * is_new_conn_expected()).
 */
static __always_inline int is_reuse(const struct packet *pkt, const struct found *found,
				    const struct dest *dest)
{
	const __u32 closed = 1 << STATE_TIME_WAIT | 1 << STATE_CLOSE | 1 << STATE_SCTP_CLOSED;
	__u32 mode = settings.switches.conn_reuse_mode;
	enum state state = state_of(found->life);

	if (!pkt->syn)
		return 0;
	if (settings.switches.expire_nodest_conn && dest && has_no_weight(dest))
		return 1;
	if (!mode || found->conn->control || found->conn->teller)
		return 0;
	return closed >> state & 1 || (mode & 2 && state == STATE_FIN_WAIT && dest &&
				       half_of(found->conn, dest) == HALF_INPUT_ONLY);
}

/* ends_early tells whether a packet of a known connection is handled as if there were none. */
static __always_inline int ends_early(const struct packet *pkt, const struct found *found,
				      const struct dest *dest)
{
	return is_reuse(pkt, found, dest) ||
	       (unlikely(is_parting(found, dest)) && starts_anew(pkt, found, dest));
}

/*
 * ip_vs_proto_tcp.c: tcp_conn_schedule(): SYN+ACK counts, too;
 * ip_vs_proto_sctp.c: sctp_conn_schedule().
 */
static __always_inline int may_schedule(const struct packet *pkt)
{
	switch (pkt->flow.proto) {
	case IPPROTO_UDP:
		return 1;
	case IPPROTO_SCTP:
		return pkt->event == SCTP_INIT ||
		       (settings.switches.sloppy_sctp && pkt->event != SCTP_ABORT &&
			pkt->event != SCTP_UNREADABLE);
	default:
		return pkt->event == EVENT_SYN ||
		       (settings.switches.sloppy_tcp && pkt->event != EVENT_RST);
	}
}

static __always_inline struct choice *find_choice(void)
{
	__u32 cpu = 0;

	return bpf_map_lookup_elem(&choices, &cpu);
}

/*
 * drops tells whether it is the turn of a packet that would begin a connection
 * to be dropped (include/net/ip_vs.h: ip_vs_todrop()).
 */
static __always_inline int drops(void)
{
	__s32 rate = settings.switches.drop_rate;

	if (likely(!rate) || __sync_fetch_and_add(&settings.switches.drop_counter, -1) > 1)
		return 0;
	settings.switches.drop_counter = rate;
	return 1;
}

/* The hash of the call that a datagram belongs to; 0: nobody knows (ip_vs_sip_fill_param()). */
static __always_inline __u64 call_of(struct xdp_md *ctx, const struct flow *flow,
				     const struct choice *choice)
{
	if (flow->proto != IPPROTO_UDP || !choice->size)
		return 0;
	return read_call(ctx, choice->place + sizeof(struct udphdr),
			 choice->size - sizeof(struct udphdr));
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} quoted_flows SEC(".maps");

/*
 * as_scheduled is the flow as schedulers see it. What an ICMP error quotes was
 * sent to the client: that is the destination by which dh, lblc and lblcr go
 * (ip_vs_dh.c: ip_vs_dh_schedule()), while the others mind the direction.
 */
static __always_inline const struct flow *as_scheduled(const struct flow *flow,
						       const struct choice *choice)
{
	__u32 cpu = 0;
	struct flow *quoted;

	if (likely(choice->size))
		return flow;
	quoted = bpf_map_lookup_elem(&quoted_flows, &cpu);
	if (!quoted)
		return flow;
	*quoted = *flow;
	quoted->dst = flow->src;
	return quoted;
}

/* remember_choice enters a template for a destination that was chosen now. */
static __always_inline __u32 remember_choice(const struct flow *key, const struct service *service,
					     __u32 dest, __u32 now, __u64 call)
{
	struct place place = place_of_flow(key, REQUEST);
	__u32 location = find_room(place.first, place.rest, now);
	struct conn *template;
	__u32 *at;

	if (location)
		location = new_template(key, service, dest, now, location);
	if (!call || !location)
		return location;
	template = conn_at(location);
	at = life_of(location);
	if (template && at) {
		template->rest.persistence.call = call >> 32;
		remember_call(location, identity_of(READ_ONCE(*at)));
	}
	return location;
}

/*
 * persist chooses the destination that the client has been given before, or
 * remembers the one chosen now, and holds the template. VERDICT_COUNT: done.
 */
static __always_inline enum verdict persist(struct xdp_md *ctx, const struct flow *flow,
					    struct moment *moment, struct choice *choice,
					    __u32 number, const struct service *service)
{
	__u64 call = service->engine == ENGINE_SIP ? call_of(ctx, flow, choice) : 0;
	struct flow *key = template_key(service, flow, call);
	struct conn *template;
	__u32 location;

	if (service->engine == ENGINE_SIP && !call)
		return VERDICT_NO_CALL_ID;
	if (!key)
		return VERDICT_TABLE_FULL;
	location = find_template(key, moment->now);
	if (!location) {
		choice->dest = schedule(number, as_scheduled(flow, choice), moment);
		if (choice->dest == DEST_NONE)
			return VERDICT_NO_DESTINATION;
		location = remember_choice(key, service, choice->dest, moment->now, call);
	}
	template = location ? conn_at(location) : NULL;
	if (!template)
		return VERDICT_TABLE_FULL;
	choice->dest = template->dest;
	if (flow->port.dest != service->key.port)
		choice->flags |= CONN_KEEPS_PORT;
	restart_template(template, moment->now);
	if (!choice->once && hold(location, template))
		choice->control = location;
	return VERDICT_COUNT;
}

/*
 * is_elsewhere tells whether the machine would send a packet on to its
 * destination, which is not its own. A function of its own for its needs of the
 * stack.
 */
static __noinline int is_elsewhere(struct xdp_md *ctx, const struct flow *flow, __u16 arrival)
{
	struct bpf_fib_lookup fib = { .ifindex = find_interface(arrival)->ifindex };
	long way;

	address_lookup(&fib, &flow->src, &flow->dst);
	way = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	return way == BPF_FIB_LKUP_RET_SUCCESS || way == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/* A mark's packets may do without a real server; what an ICMP error quotes is none. From 127.0.0.1
 * nothing leaves the machine. */
static __always_inline int may_bypass(struct xdp_md *ctx, const struct flow *flow,
				      const struct service *service, const struct choice *choice)
{
	return unlikely(settings.switches.cache_bypass) && service->key.mark && choice->size &&
	       !is_loopback(&flow->src) && is_elsewhere(ctx, flow, choice->arrival);
}

/*
 * leave is for packets that get no real server (ip_vs_leave()). What FTP's data
 * connections are not, is not for IPVS to refuse.
 */
static __always_inline enum verdict leave(struct xdp_md *ctx, const struct flow *flow,
					  const struct service *service, struct choice *choice)
{
	if (may_bypass(ctx, flow, service, choice)) {
		choice->dest = DEST_BYPASS;
		return VERDICT_COUNT;
	}
	return service->key.port == bpf_htons(FTP_PORT) && flow->port.dest != bpf_htons(FTP_PORT)
		       ? VERDICT_NOT_OURS
		       : VERDICT_NO_DESTINATION;
}

/*
 * choose_server chooses a destination for a request without a connection.
 * VERDICT_COUNT: there is one. Global, so that the verifier looks through it
 * once, whatever the packet.
 */
__noinline int choose_server(struct xdp_md *ctx, const struct flow *flow, struct moment *moment,
			     struct choice *choice)
{
	const struct service *service;
	int verdict = VERDICT_COUNT;
	__u32 number = SERVICE_NONE;

	if (!flow || !moment || !choice)
		return VERDICT_NOT_OURS;
	if (flow->proto == IPPROTO_TCP && choice->size && settings.wildcards &&
	    take_expected(flow, moment->now, choice))
		return VERDICT_COUNT;
	service = guess_service(flow, &number);
	if (!service) {
		number = find_service(flow);
		service = number != SERVICE_NONE ? bpf_map_lookup_elem(&services, &number) : NULL;
	}
	if (!service)
		return VERDICT_NOT_OURS;
	if (drops())
		return VERDICT_DEFENCE;
	if (flow->port.source == bpf_htons(FTP_DATA_PORT))
		return VERDICT_NO_CONNECTION;

	choice->once = flow->proto == IPPROTO_UDP && service->flags & SERVICE_ONE_PACKET;
	if (service->flags & SERVICE_PERSISTENT)
		verdict = persist(ctx, flow, moment, choice, number, service);
	else if (service->key.mark || service->key.port == flow->port.dest)
		choice->dest = schedule(number, as_scheduled(flow, choice), moment);
	if (verdict == VERDICT_NO_DESTINATION ||
	    (verdict == VERDICT_COUNT && choice->dest == DEST_NONE))
		return leave(ctx, flow, service, choice);
	return verdict;
}

/* connect enters the connection that was decided on. */
static __noinline enum verdict connect(struct packet *pkt, struct choice *choice,
				       struct found *found)
{
	__u32 key = choice->dest;
	const struct dest *dest = dest_by(key);

	if (!dest)
		return VERDICT_NO_DESTINATION;
	if (!choice->teller)
		choice->flags |= (enum conn_flags)dest->forwarding;
	if (choice->once) {
		found->conn = NULL;
		return VERDICT_COUNT;
	}
	if (!new_conn(pkt, choice, found)) {
		if (choice->control)
			release_template(choice->control, pkt->moment.now);
		return VERDICT_TABLE_FULL;
	}
	if (unlikely(choice->teller)) /* ip_vs_conn_stats() is for what is scheduled */
		listen(found);
	else
		count_conn(found->dest);
	return VERDICT_COUNT;
}

/*
 * admit chooses a destination for a request without a connection, or for one
 * that ends the connection in found; size is of what can be read of it from its
 * transport header on. VERDICT_COUNT: the new one is there, or the packet is a
 * connection of its own.
 */
static __always_inline enum verdict admit(struct xdp_md *ctx, struct packet *pkt,
					  struct found *found, __u32 size)
{
	enum verdict verdict = VERDICT_NO_CONNECTION;
	struct choice *choice = find_choice();

	if (!choice)
		return VERDICT_TABLE_FULL;
	*choice = (struct choice){
		.dest = DEST_NONE,
		.place = sizeof(*pkt->eth) + header_length(pkt),
		.size = size,
		.arrival = pkt->arrival,
	};
	if (may_schedule(pkt))
		verdict = choose_server(ctx, &pkt->flow, &pkt->moment, choice);
	if (found->conn) /* the choice still counts what ends now (kernel: a timer does that) */
		end(found, pkt->moment.now);
	return verdict == VERDICT_COUNT ? connect(pkt, choice, found) : verdict;
}

#endif
