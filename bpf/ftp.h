/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * FTP through NAT (RFC 959, RFC 2428; the kernel's ip_vs_ftp.c). What client and
 * real server say on port 21 tells which data connection is to come:
 *
 *   server: 227 Entering Passive Mode (10,0,0,11,200,13)      client -> VIP:51213
 *   server: 229 Entering Extended Passive Mode (|||51213|)    client -> VIP:51213
 *   client: PORT 198,51,100,2,200,13                          RIP:20 -> client:51213
 *   client: EPRT |2|2001:db8:3::2|51213|                      RIP:20 -> client:51213
 *
 * A connection in state LISTEN is entered for it, as the kernel does; a client
 * that comes to the VIP gets one of its own in its place.
 *
 * Nothing but the address in a 227 has to change. It does within the line's
 * length: words before it give way to a longer address, spaces go before a shorter
 * one. So no sequence number ever has to follow, a line that is sent again is
 * changed again to the same, and nothing has to be remembered of it.
 */
#ifndef LVSX_FTP_H
#define LVSX_FTP_H

#include "conn.h"
#include "csum.h"
#include "frame.h"
#include "ftp_line.h"
#include "maps.h"
#include "packet.h"
#include "persist.h"
#include "service.h"
#include "types.h"

/* The packet's TCP header, in bounds that the verifier has not forgotten. */
static __always_inline struct tcphdr *find_tcp(struct xdp_md *ctx, const struct packet *pkt)
{
	return at(ctx, sizeof(struct ethhdr) + header_length(pkt), sizeof(struct tcphdr));
}

/* readdress makes a 227 name the VIP. The scratch, which is at offset in the frame, is written
 * back. */
static __noinline void readdress(struct xdp_md *ctx, struct packet *pkt, __u32 offset,
				 const union addr *vip)
{
	struct ftp_scratch *ftp = find_ftp_scratch();
	struct tcphdr *tcp = find_tcp(ctx, pkt);
	struct ftp_scan *scan;
	__u32 from, last;

	if (!tcp || !ftp || !write_line(vip))
		return;
	scan = &ftp->scan;
	if (pkt->sending == SENDING_BEHIND)
		pkt->handover.to_port = csum_fold(pkt->handover.to_port + scan->change);
	else
		tcp->check = csum_apply(tcp->check, scan->change);
	from = scan->from;
	last = scan->end - scan->from - 1;
	/* Bounds that the verifier of 6.1 follows, and clang must not see through. */
	asm volatile("" : "+r"(from), "+r"(last));
	from &= FTP_BYTES - 1;
	last &= FTP_ADDRESS - 1;
	bpf_xdp_store_bytes(ctx, offset + from, ftp->bytes + from, last + 1);
}

/* load_line has a segment's end in the scratch: where that is in the frame, 0: nothing is said. */
static __always_inline __u32 load_line(struct xdp_md *ctx, struct packet *pkt,
				       struct ftp_scratch *ftp)
{
	const struct tcphdr *tcp = find_tcp(ctx, pkt);
	struct ftp_scan *scan = &ftp->scan;
	__u32 header, size, skipped, last;

	if (!tcp)
		return 0;
	header = header_length(pkt) + tcp->doff * 4;
	if (pkt->length <= header)
		return 0;
	size = pkt->length - header;
	skipped = size > FTP_BYTES ? size - FTP_BYTES : 0;
	last = size - skipped - 1;
	asm volatile("" : "+r"(last));
	last &= FTP_BYTES - 1;
	scan->part = skipped ? FTP_OTHER : FTP_WORD;
	scan->odd = skipped % 2;
	scan->limit = last + 1;
	header += sizeof(struct ethhdr) + skipped;
	return bpf_xdp_load_bytes(ctx, header, ftp->bytes, last + 1) ? 0 : header;
}

/*
 * overhear reads what one side of an established control connection says, as it
 * is sent on. It returns the port of the data connection that is told of, or 0.
 */
static __noinline __u32 overhear(struct xdp_md *ctx, struct packet *pkt, const struct conn *conn,
				 enum ftp_speaker speaker)
{
	struct ftp_scratch *ftp = find_ftp_scratch();
	__u32 offset, port;

	if (!ftp || pkt->flow.proto != IPPROTO_TCP || pkt->fragmented)
		return 0;
	ftp->scan = (struct ftp_scan){ .speaker = speaker };
	offset = load_line(ctx, pkt, ftp);
	if (!offset)
		return 0;
	port = read_line();
	/* Other services of the real server are nobody's data (ip_vs_ftp.c does not ask). */
	if (port < settings.unprivileged_port || port > 0xffff)
		return 0;
	if (speaker == FTP_SERVER && ftp->scan.end && !pkt->ipv6)
		readdress(ctx, pkt, offset, &conn->vip);
	return port;
}

/* listen gives a connection that was just entered the state of one that is waited for. */
static __always_inline void listen(struct found *found)
{
	__u32 life = with_state(found->life, STATE_LISTEN);

	if (exchange(found, life))
		found->life = life;
}

/*
 * is_expected tells whether a connection is there already that a control
 * connection tells of; one of another real server is over. Its key stays for
 * enter_expected(): one after the other they need less of the stack.
 */
__noinline int is_expected(__u32 teller, __be16 cport, __be16 vport, __u32 now)
{
	const struct conn *told = conn_at(teller);
	struct found found = {};
	struct flow *key;
	__u32 location, cpu = 0;

	key = bpf_map_lookup_elem(&template_keys, &cpu);
	if (!key || !told)
		return 1;
	*key = (struct flow){
		.src = told->cip,
		.dst = told->vip,
		.port = { .source = cport, .dest = vport },
		.proto = IPPROTO_TCP,
	};
	location = locate(key, REQUEST, now, 0);
	if (!location || !fetch(location, key, REQUEST, now, &found))
		return 0;
	if (found.dest == told->dest)
		return 1;
	end(&found, now);
	return 0;
}

__noinline int enter_expected(__u32 teller, __u32 now)
{
	const struct conn *told = conn_at(teller);
	struct found found = {};
	struct conn *conn;
	struct flow *key;
	struct place place;
	__u32 location, cpu = 0;

	key = bpf_map_lookup_elem(&template_keys, &cpu);
	if (!key || !told)
		return 0;
	place = place_of_flow(key, REQUEST);
	location = find_room(place.first, place.rest, now);
	conn = location ? conn_at(location) : NULL;
	if (!conn)
		return 0;
	fill(conn, key, told->dest, FORWARDING_MASQ | CONN_KEEPS_PORT,
	     now + settings.timeouts[0].states[STATE_LISTEN]);
	conn->rest.hop = told->rest.hop;
	conn->control = 0;
	conn->teller = teller;
	account_begin(conn->dest, 0);
	publish(conn, location, &found);
	listen(&found);
	return 1;
}

/*
 * expect enters the data connection that a control connection told of: of a
 * client's port that is not known yet, 0, to the VIP; or from the real server's
 * port to the client's.
 */
static __always_inline void expect(const struct found *teller, __be16 cport, __be16 vport,
				   __u32 now)
{
	if (!is_expected(teller->location, cport, vport, now))
		enter_expected(teller->location, now);
}

/* follow_reply minds what a real server says to its client on the control connection. */
static __noinline void follow_reply(struct xdp_md *ctx, struct packet *pkt,
				    const struct found *found)
{
	__u32 port = overhear(ctx, pkt, found->conn, FTP_SERVER);

	if (port)
		expect(found, 0, bpf_htons(port), pkt->moment.now);
}

/* follow_request minds what a client says. The server calls from the port below the one it has. */
static __noinline void follow_request(struct xdp_md *ctx, struct packet *pkt,
				      const struct found *found)
{
	__u32 port = overhear(ctx, pkt, found->conn, FTP_CLIENT), key = found->dest;
	const struct dest *dest = dest_by(key);
	__be16 server;

	if (!port || !dest)
		return;
	server = real_port(found->conn->flags, dest, found->conn->vport);
	expect(found, bpf_htons(port), bpf_htons(bpf_ntohs(server) - 1), pkt->moment.now);
}

static __always_inline int is_ftp_control(const struct packet *pkt, const struct conn *conn)
{
	return unlikely(conn->vport == bpf_htons(FTP_PORT)) && pkt->state == STATE_ESTABLISHED;
}

/* take_expected chooses the destination of a data connection that a real server told of. */
__noinline int take_expected(const struct flow *flow, __u32 now, struct choice *choice)
{
	struct found found = {};
	struct flow *key;
	__u32 location, cpu = 0;

	key = bpf_map_lookup_elem(&template_keys, &cpu);
	if (!key || !flow || !choice)
		return 0;
	*key = *flow;
	key->port.source = 0;
	location = locate(key, REQUEST, now, 0);
	/* A client's port may be 0, too. */
	if (!location || !fetch(location, key, REQUEST, now, &found) || !found.conn->teller)
		return 0;
	choice->dest = found.dest;
	choice->flags = found.conn->flags & (CONN_FORWARDING | CONN_KEEPS_PORT);
	choice->teller = found.conn->teller;
	end(&found, now);
	return 1;
}

#endif
