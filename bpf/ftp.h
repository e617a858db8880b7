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
#include "maps.h"
#include "packet.h"
#include "persist.h"
#include "service.h"
#include "types.h"

/* So many bytes at a segment's end are looked through: what others wait for is said last. */
#define FTP_BYTES 512

/* Of "255,255,255,255" and what may be written around it. */
#define FTP_ADDRESS 32

/* Where a code of four bytes ends: "227 ". */
#define FTP_WORD_BYTES 4

/* What is being read of a line. */
enum ftp_part {
	FTP_WORD,    /* its first bytes */
	FTP_OTHER,   /* nothing that matters, up to the line's end */
	FTP_NUMBERS, /* six numbers with commas between */
	FTP_BARS,    /* what is between bars, or whatever the first one is */
	FTP_DONE,
};

enum ftp_speaker {
	FTP_CLIENT,
	FTP_SERVER,
};

struct ftp_scan {
	enum ftp_speaker speaker;
	enum ftp_part part;
	__u32 limit;  /* bytes to look at */
	__u32 line;   /* where the line begins */
	__u32 word;   /* its first bytes, letters small */
	__u32 start;  /* where the address begins */
	__u32 end;    /* and ends, 0: there is none */
	__u32 count;  /* of commas or bars */
	__u32 digits; /* of the number */
	__u32 number;
	__u32 port;
	__u32 bar; /* what stands for one */
	/* What is written in place of the address: */
	__u32 from;   /* where */
	__u32 vip_at; /* where the VIP begins, up to the end */
	__u32 opened; /* 1: a parenthesis stands before it */
	__u32 size;   /* of the VIP */
	__u32 odd;    /* 1: bytes[0] is the second of two that are summed */
	__u64 change; /* what the checksum gains */
};

/*
 * All of it in a map: of what is there the verifier knows nothing, and so does
 * not follow every way through a line.
 */
struct ftp_scratch {
	struct ftp_scan scan;
	__u8 bytes[FTP_BYTES + 2 * FTP_ADDRESS];
	__u8 vip[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ftp_scratch);
} ftp_scratches SEC(".maps");

static __always_inline struct ftp_scratch *find_ftp_scratch(void)
{
	__u32 cpu = 0;

	return bpf_map_lookup_elem(&ftp_scratches, &cpu);
}

static __always_inline __u32 ftp_word(char a, char b, char c, char d)
{
	return (__u32)a << 24 | (__u32)b << 16 | (__u32)c << 8 | (__u32)d;
}

static __always_inline enum ftp_part part_after(const struct ftp_scan *scan)
{
	if (scan->speaker == FTP_SERVER)
		return scan->word == ftp_word('2', '2', '7', ' ')   ? FTP_NUMBERS
		       : scan->word == ftp_word('2', '2', '9', ' ') ? FTP_BARS
								    : FTP_OTHER;
	return scan->word == ftp_word('p', 'o', 'r', 't')   ? FTP_NUMBERS
	       : scan->word == ftp_word('e', 'p', 'r', 't') ? FTP_BARS
							    : FTP_OTHER;
}

static __always_inline void read_word(struct ftp_scan *scan, __u32 at, __u8 c)
{
	scan->word = scan->word << 8 | c | 0x20;
	if (at - scan->line == FTP_WORD_BYTES - 1)
		scan->part = part_after(scan);
}

/* read_digit takes one more digit of a number, and tells whether it is one. */
static __always_inline int read_digit(struct ftp_scan *scan, __u8 c)
{
	if ((__u8)(c - '0') > 9)
		return 0;
	if (scan->digits < 8)
		scan->number = scan->number * 10 + c - '0';
	scan->digits++;
	return 1;
}

static __always_inline void read_numbers(struct ftp_scan *scan, __u32 at, __u8 c)
{
	if (!scan->count && !scan->digits)
		scan->start = at;
	if (read_digit(scan, c))
		return;
	if (!scan->digits || scan->digits > 3 || scan->number > 255 ||
	    (c != ',' && scan->count < 5)) {
		scan->count = 0; /* a number in the words before */
	} else {
		if (scan->count == 3)
			scan->end = at;
		scan->port = (scan->port << 8 | scan->number) & 0xffff;
		scan->count++;
	}
	scan->digits = scan->number = 0;
	if (scan->count == 6)
		scan->part = FTP_DONE;
}

static __always_inline void read_bars(struct ftp_scan *scan, __u8 c)
{
	if (!scan->bar) {
		if (scan->speaker == FTP_SERVER && !scan->opened)
			scan->opened = c == '(';
		else if (c != ' ')
			scan->bar = c, scan->count = 1;
		return;
	}
	if (c == scan->bar) {
		scan->count++;
		if (scan->count < 4)
			return;
		scan->port = scan->number;
		scan->part = scan->digits && scan->digits < 8 ? FTP_DONE : FTP_OTHER;
		return;
	}
	if (scan->count == 3 && !read_digit(scan, c))
		scan->part = FTP_OTHER;
}

static __always_inline void begin_line(struct ftp_scan *scan, __u32 at)
{
	scan->part = FTP_WORD;
	scan->line = at;
	scan->word = scan->end = scan->count = scan->digits = scan->number = 0;
	scan->port = scan->bar = scan->opened = 0;
}

static long ftp_step(__u32 at, void *none __attribute__((unused)))
{
	struct ftp_scratch *ftp = find_ftp_scratch();
	struct ftp_scan *scan;
	__u8 c;

	if (!ftp)
		return 1;
	scan = &ftp->scan;
	if (at >= scan->limit || scan->part == FTP_DONE)
		return 1;
	c = ftp->bytes[at & (FTP_BYTES - 1)];
	if (c == '\n')
		begin_line(scan, at + 1);
	else if (scan->part == FTP_WORD)
		read_word(scan, at, c);
	else if (scan->part == FTP_NUMBERS)
		read_numbers(scan, at, c);
	else if (scan->part == FTP_BARS)
		read_bars(scan, c);
	return 0;
}

/* read_line returns the port that the line in the scratch tells of, 0: none. */
__noinline __u32 read_line(void)
{
	const struct ftp_scratch *ftp = find_ftp_scratch();

	bpf_loop(FTP_BYTES, ftp_step, NULL, 0);
	return ftp && ftp->scan.part == FTP_DONE ? ftp->scan.port : 0;
}

static __always_inline void write_digit(struct ftp_scratch *ftp, __u8 digit)
{
	ftp->vip[ftp->scan.size & 15] = digit;
	ftp->scan.size++;
}

/* write_vip writes the VIP as a 227 has it. */
static __always_inline void write_vip(struct ftp_scratch *ftp, const union addr *vip)
{
	ftp->scan.size = 0;
	for (int i = 12; i < 16; i++) {
		__u8 byte = vip->bytes[i];

		if (byte >= 100)
			write_digit(ftp, '0' + byte / 100);
		if (byte >= 10)
			write_digit(ftp, '0' + byte / 10 % 10);
		write_digit(ftp, '0' + byte % 10);
		write_digit(ftp, ',');
	}
	ftp->scan.size--; /* the last comma stands there already */
}

/* One byte of the line with the VIP in it, and what the checksum gains by it. */
static long write_step(__u32 i, void *none __attribute__((unused)))
{
	struct ftp_scratch *ftp = find_ftp_scratch();
	struct ftp_scan *scan;
	__u8 was, is = ' ';
	__u32 at, shift;

	if (!ftp)
		return 1;
	scan = &ftp->scan;
	at = scan->from + i;
	if (at >= scan->end)
		return 1;
	shift = (at + scan->odd) % 2 * 8;
	if (at >= scan->vip_at)
		is = ftp->vip[(at - scan->vip_at) & 15];
	else if (at + 1 == scan->vip_at && scan->opened)
		is = '(';
	was = ftp->bytes[at & (FTP_BYTES - 1)];
	ftp->bytes[at & (FTP_BYTES - 1)] = is;
	scan->change += csum_change16((__be16)was << shift, (__be16)is << shift);
	return 0;
}

/*
 * write_line puts the VIP into the line in the scratch; 0: there is no room for
 * it. Global like others here, so that the verifier looks through it once.
 */
__noinline int write_line(const union addr *vip)
{
	struct ftp_scratch *ftp = find_ftp_scratch();
	struct ftp_scan *scan;

	if (!ftp || !vip)
		return 0;
	scan = &ftp->scan;
	write_vip(ftp, vip);
	scan->opened = ftp->bytes[(scan->start - 1) & (FTP_BYTES - 1)] == '(';
	scan->vip_at = scan->end - scan->size;
	scan->from =
		(scan->vip_at < scan->start ? scan->vip_at : scan->start) - (scan->opened ? 1 : 0);
	if (scan->from < scan->line + FTP_WORD_BYTES || scan->end - scan->from > FTP_ADDRESS)
		return 0;
	bpf_loop(FTP_ADDRESS, write_step, NULL, 0);
	return 1;
}

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
	__u32 location, cpu = 0;

	key = bpf_map_lookup_elem(&template_keys, &cpu);
	if (!key || !told)
		return 0;
	location = find_room(key, now);
	conn = location ? conn_at(location) : NULL;
	if (!conn)
		return 0;
	fill(conn, key, told->dest, FORWARDING_MASQ | CONN_KEEPS_PORT,
	     now + settings.timeouts[0].states[STATE_LISTEN]);
	conn->rest.hop = told->rest.hop;
	conn->control = 0;
	conn->teller = teller;
	account_begin(conn->dest);
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
	const struct dest *dest = bpf_map_lookup_elem(&dests, &key);
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
