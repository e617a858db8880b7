/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The director's datapath. A packet's way: parse -> direction -> connection ->
 * (new: service -> schedule -> insert) -> state and counters -> forwarding
 * method -> next hop. One header a step; read them in that order.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"
#include "maps.h"
#include "packet.h"
#include "service.h"
#include "conn.h"
#include "persist.h"
#include "sip.h"
#include "sched.h"
#include "forward.h"
#include "ftp.h"
#include "fragment.h"
#include "related.h"
#include "reset.h"
#include "stray.h"
#include "handover.h"
#include "split.h"
#include "local.h"
#include "admit.h"
#include "front.h"
#include "programs.h"
#include "vlan.h"
#include "plain.h"
#include "begin.h"

/* is_masqueraded tells whether NAT sent a request on, or gave it to a real server on the director.
 */
static __always_inline int is_masqueraded(const struct conn *conn, enum verdict verdict)
{
	return verdict == VERDICT_MASQ_IN ||
	       (verdict == VERDICT_LOCAL && forwarding_of(conn) == FORWARDING_MASQ);
}

/* request handles a packet of a known connection from its client. */
static __always_inline enum verdict request(struct xdp_md *ctx, struct packet *pkt,
					    struct found *found, const struct dest *dest,
					    const struct interface *from)
{
	struct conn *conn = found->conn;
	enum verdict verdict;

	if (unlikely(is_parting(found, dest))) {
		verdict = part(ctx, pkt, found, dest);
		if (verdict != VERDICT_COUNT || !dest)
			return verdict;
		return forward_request(ctx, pkt, conn->flags, found->dest, dest, from);
	}
	count_in(found->dest, pkt->length);
	count_request(conn);
	pkt->state = step(found, half_of(conn, dest), pkt->event, dest->timeouts, pkt->moment.now);
	verdict = forward_request(ctx, pkt, conn->flags, found->dest, dest, from);
	if (is_ftp_control(pkt, conn) && is_masqueraded(conn, verdict))
		follow_request(ctx, pkt, found);
	return verdict;
}

/* reply handles a packet of a NAT connection from its real server. */
static __always_inline enum verdict reply(struct xdp_md *ctx, struct packet *pkt,
					  struct found *found, const struct interface *from)
{
	const struct dest *dest = dest_of(found);
	enum verdict verdict;

	if (hop_limit(pkt) <= 1)
		return VERDICT_REPLY_EXPIRED;
	if (unlikely(is_killed(found))) {
		if (pkt->event != EVENT_RST) {
			found->conn->flags &= ~CONN_SERVER_UNTOLD;
			return VERDICT_RESET;
		}
		return forward_reply(ctx, pkt, found->conn, from);
	}
	if (!is_gone(dest))
		count_out(found->dest, pkt->length);
	pkt->state =
		step(found, HALF_OUTPUT, pkt->event, dest ? dest->timeouts : 0, pkt->moment.now);
	verdict = forward_reply(ctx, pkt, found->conn, from);
	if (is_ftp_control(pkt, found->conn) && verdict == VERDICT_MASQ_OUT)
		follow_reply(ctx, pkt, found);
	return verdict;
}

/*
 * send_once sends a packet on that leaves no connection behind: none of its
 * client's next packets and none of its real server's answers belongs to it
 * (IP_VS_CONN_F_ONE_PACKET).
 */
static __noinline enum verdict send_once(struct xdp_md *ctx, struct packet *pkt)
{
	const struct choice *choice = find_choice();
	__u32 key = choice ? choice->dest : DEST_NONE;
	const struct dest *dest = dest_by(key);

	if (!choice || !dest)
		return VERDICT_NO_DESTINATION;
	account_once(key);
	count_conn(key);
	count_in(key, pkt->length);
	if (unlikely(pkt->fragmented))
		follow_once(ctx, pkt, key);
	return forward_request(ctx, pkt, choice->flags, key, dest, arrival_of(pkt));
}

/* direct is the whole way of a packet. */
static __always_inline enum verdict direct(struct xdp_md *ctx, struct packet *pkt)
{
	const struct interface *from;
	struct found found = {};
	const struct dest *dest;
	enum verdict verdict;
	struct place place;
	int in, out, known;

	verdict = parse(ctx, pkt);
	if (verdict != VERDICT_COUNT)
		return verdict;
	if (is_icmp(pkt))
		return leave_to(ctx, pkt, PROGRAM_ERROR);
	if (!is_balanced(pkt->flow.proto))
		return VERDICT_OTHER_PROTOCOL;

	in = may_be_vip(&pkt->flow.dst);
	out = may_be_rip(&pkt->flow.src);
	if (!in && !out)
		return VERDICT_NOT_OURS;
	from = arrival_of(pkt);
	if (!is_for_us(pkt, from))
		return VERDICT_OTHER_HOST;
	pkt->sending = sending_from(from);
	/* A client on the director may have the VIP's own address. */
	if (likely(!is_own(ctx)) && is_martian(pkt))
		return VERDICT_MARTIAN;
	if (unlikely(pkt->fragmented) && !is_assorted(pkt))
		return leave_to(ctx, pkt, PROGRAM_FRAGMENT);
	verdict = parse_transport(ctx, pkt);
	if (verdict != VERDICT_COUNT)
		return verdict;

	if (out) {
		place = place_of_flow(&pkt->flow, REPLY);
		if (find_conn(&place, &pkt->flow, REPLY, pkt->moment.now, &found))
			return reply(ctx, pkt, &found, from);
		if (unlikely(settings.switches.nat_icmp_send) && is_stray(pkt, in))
			return VERDICT_STRAY;
		if (!in)
			return VERDICT_NOT_OURS;
	}

	place = place_of_flow(&pkt->flow, REQUEST);
	known = find_conn(&place, &pkt->flow, REQUEST, pkt->moment.now, &found);
	if (!known)
		found.conn = NULL;
	dest = known ? dest_of(&found) : NULL;
	if (!known || ends_early(pkt, &found, dest)) {
		verdict = admit(ctx, pkt, &found, pkt->length - header_length(pkt));
		if (verdict != VERDICT_COUNT)
			return verdict;
		if (!found.conn) /* whose NULL the verifier follows */
			return send_once(ctx, pkt);
		dest = dest_of(&found);
	}
	return request(ctx, pkt, &found, dest, from);
}

static __always_inline int transmit(struct xdp_md *ctx, const struct hop *next)
{
	int action = address_frame(ctx, next) ? send_from(ctx, next->ifindex) : XDP_DROP;

	return likely(action != XDP_DROP) ? action : send_tagged(ctx, next->ifindex);
}

/*
 * must_stay tells whether a packet is of a client on the director at 127.0.0.1, and for a real
 * server elsewhere (kernel: crosses_local_route_boundary()). What such a real server sends comes
 * from the VIP.
 */
static __always_inline int must_stay(const struct packet *pkt, enum verdict verdict)
{
	return is_loopback(&pkt->flow.src) && verdict != VERDICT_MASQ_OUT &&
	       verdict < VERDICT_ERROR_IN;
}

/* hand_over leaves the sending to send_on(), which finds what is left to do before the packet. */
static __noinline int hand_over(struct xdp_md *ctx, struct packet *pkt, enum verdict verdict)
{
	struct left *left;

	if (unlikely(find_interface(pkt->next.ifindex)->flags & INTERFACE_LOCAL))
		pkt->next = by_loopback();
	else if (must_stay(pkt, verdict))
		return XDP_DROP;
	if (!address_frame(ctx, &pkt->next) || !pass_down(ctx, &pkt->handover, pkt->next.ifindex))
		return XDP_DROP;
	left = (void *)(long)ctx->data_meta;
	if (unlikely(pkt->cut) && (void *)(left + 1) <= (void *)(long)ctx->data)
		tell_cut(left);
	return XDP_PASS;
}

/* send_packet sends a packet that is addressed, by itself or by the tc program behind. */
static __always_inline int send_packet(struct xdp_md *ctx, struct packet *pkt, enum verdict verdict)
{
	return pkt->sending == SENDING_XDP ? transmit(ctx, &pkt->next)
					   : hand_over(ctx, pkt, verdict);
}

/* answer sends the packet's sender what the verdict stands for, and says whether it could. */
static __always_inline enum verdict answer(struct xdp_md *ctx, struct packet *pkt,
					   enum verdict verdict)
{
	int is_reset = verdict == VERDICT_RESET;

	if (!(is_reset && pkt->flow.proto == IPPROTO_TCP) && verdict != VERDICT_TOO_BIG &&
	    !may_complain(pkt->moment.now))
		return VERDICT_UNANSWERED;
	if (is_reset ? !send_back(ctx, pkt) : !refuse(ctx, pkt, verdict))
		return VERDICT_NO_ROOM;
	return verdict;
}

/* Why a packet could not be sent. */
static __always_inline enum verdict explain(const struct packet *pkt, enum verdict verdict)
{
	if (must_stay(pkt, verdict))
		return VERDICT_LOOPBACK;
	return pkt->sending == SENDING_SPLIT ? VERDICT_NEEDS_FRAGMENTING : VERDICT_NO_PORT;
}

/* conclude does what the verdict says, and counts it. */
static __always_inline int conclude(struct xdp_md *ctx, struct packet *pkt, enum verdict verdict)
{
	int action = XDP_DROP;

	if (unlikely(settings.fronts) && was_unwrapped())
		verdict = confine(pkt, verdict);
	if (unlikely(is_answered(verdict)))
		verdict = answer(ctx, pkt, verdict);
	if (verdict < VERDICT_MASQ_IN) {
		action = restore_tags(ctx, pkt) ? XDP_PASS : XDP_DROP;
	} else if (verdict < VERDICT_DESTINATION_GONE && pkt->next.ifindex) {
		action = send_packet(ctx, pkt, verdict);
		if (action == XDP_DROP) /* not every driver can hand over */
			verdict = explain(pkt, verdict);
	}
	note_verdict(verdict, pkt->state);
	return action;
}

/* leave_to_any goes on with take_any(), and does not come back. */
static __always_inline int leave_to_any(struct xdp_md *ctx)
{
	bpf_tail_call_static(ctx, &programs, PROGRAM_ANY);
	note_verdict(VERDICT_NO_PROGRAM, STATE_NONE);
	return XDP_DROP;
}

SEC("xdp")
int director(struct xdp_md *ctx)
{
	int action = XDP_ABORTED;

	switch (take_plain(ctx, &action)) {
	case PLAIN_DONE:
		return action;
	case PLAIN_NEW:
		bpf_tail_call_static(ctx, &programs, PROGRAM_NEW);
		break;
	case PLAIN_NOT:
		break;
	}
	return leave_to_any(ctx);
}

/* Behind director(): plain packets that seem to begin a connection. */
SEC("xdp")
int take_new(struct xdp_md *ctx)
{
	int action = XDP_ABORTED;

	return begin_plain(ctx, &action) == PLAIN_DONE ? action : leave_to_any(ctx);
}

/* Behind director(): whatever is not plain. */
SEC("xdp")
int take_any(struct xdp_md *ctx)
{
	struct packet pkt = { .moment = present() };
	enum verdict verdict = direct(ctx, &pkt);

	if (may_be_wrapped(&pkt, verdict))
		verdict = leave_to(ctx, &pkt, PROGRAM_FRONT);
	return conclude(ctx, &pkt, verdict);
}

/* Behind director(): ICMP. */
SEC("xdp")
int follow_error(struct xdp_md *ctx)
{
	struct packet pkt = { .moment = present() };
	enum verdict verdict = parse(ctx, &pkt);

	if (verdict == VERDICT_COUNT)
		verdict = relate(ctx, &pkt);
	return conclude(ctx, &pkt, verdict);
}

/* Behind director(): fragments. A first one goes to take_any() then. */
SEC("xdp")
int follow_fragment(struct xdp_md *ctx)
{
	struct packet pkt = { .moment = present() };
	enum verdict verdict = parse(ctx, &pkt);

	if (verdict == VERDICT_COUNT)
		verdict = assort(ctx, &pkt);
	if (verdict == VERDICT_COUNT) {
		verdict = leave_to(ctx, &pkt, PROGRAM_ANY);
		note_assorted(ASSORTED_NOT);
	}
	return conclude(ctx, &pkt, verdict);
}

/* Behind director(): what a front may have wrapped. The packet inside goes to take_any(), once. */
SEC("xdp")
int follow_front(struct xdp_md *ctx)
{
	enum verdict verdict = VERDICT_OTHER_PROTOCOL;
	struct packet pkt = {};

	if (was_unwrapped())
		verdict = VERDICT_NOT_VIP;
	else if (open_ip(ctx, &pkt))
		verdict = open_front(ctx, &pkt);
	if (verdict == VERDICT_COUNT) {
		note_unwrapped(1);
		verdict = leave_to(ctx, &pkt, PROGRAM_ANY);
		note_unwrapped(0);
	}
	note_verdict(verdict, STATE_NONE);
	return verdict < VERDICT_MASQ_IN && restore_tags(ctx, &pkt) ? XDP_PASS : XDP_DROP;
}

/* Behind XDP: sends what that has left to the stack, in generic mode everything. */
SEC("tcx/ingress")
int send_on(struct __sk_buff *skb)
{
	struct left *before = (void *)(long)skb->data_meta;
	struct left left;

	if ((void *)(before + 1) > (void *)(long)skb->data)
		return TC_ACT_UNSPEC;
	left = *before;
	/* Of another VLAN, which hardware took off and generic XDP does not see. */
	if (skb->vlan_present && left.handover.ifindex && left.handover.work != HANDOVER_BACK &&
	    bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (left.cut.size && !finish_reset(skb, &left.cut))
		return TC_ACT_SHOT;
	if (left.handover.work == HANDOVER_SPLIT)
		return split(skb, &left.handover);
	if (left.handover.work == HANDOVER_MASQ && !finish_masquerade(skb, &left.handover))
		return TC_ACT_SHOT;
	if (left.handover.work == HANDOVER_TUNNEL && !finish_tunnel(skb, &left.handover))
		return TC_ACT_SHOT;
	if (!left.handover.ifindex)
		return TC_ACT_UNSPEC;
	/* A client on the director has it come in by lo, where a source may be local. */
	return bpf_redirect(left.handover.ifindex,
			    left.handover.ifindex == LOOPBACK_IFINDEX ? BPF_F_INGRESS : 0);
}

/* Behind send_on() on the interface of our own: what is none of ours goes on its way. */
SEC("tcx/ingress")
int give_back(struct __sk_buff *skb)
{
	return return_to_stack(skb);
}

/* Where the machine's own packets leave: clients and real servers on the director. */
SEC("tcx/egress")
int local_out(struct __sk_buff *skb)
{
	return send_out(skb, present().now);
}

/* Run by hand, to learn how long a jiffy is and what time the datapath has; never attached. */
struct clock_reading clock SEC(".data.clock");

SEC("xdp")
int read_clock(struct xdp_md *ctx __attribute__((unused)))
{
	clock.jiffies = bpf_jiffies64();
	clock.monotonic = bpf_ktime_get_ns();
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
