/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections and persistence templates. */
#ifndef LVSX_TYPES_CONN_H
#define LVSX_TYPES_CONN_H

#include <linux/types.h>

#include "../addr.h"
#include "cache_line.h"

/*
 * include/net/ip_vs.h: IP_VS_TCP_S_*, and IP_VS_SCTP_S_* but for NONE, in their
 * order; UDP has the one state STATE_UDP.
 */
enum state {
	STATE_NONE,
	STATE_ESTABLISHED,
	STATE_SYN_SENT,
	STATE_SYN_RECV,
	STATE_FIN_WAIT,
	STATE_TIME_WAIT,
	STATE_CLOSE,
	STATE_CLOSE_WAIT,
	STATE_LAST_ACK,
	STATE_LISTEN,
	STATE_SYNACK,
	STATE_UDP,
	STATE_KILLED, /* both ends are being told: reset.h */
	STATE_SCTP_INIT1,
	STATE_SCTP_INIT,
	STATE_SCTP_COOKIE_SENT,
	STATE_SCTP_COOKIE_REPLIED,
	STATE_SCTP_COOKIE_WAIT,
	STATE_SCTP_COOKIE,
	STATE_SCTP_COOKIE_ECHOED,
	STATE_SCTP_ESTABLISHED,
	STATE_SCTP_SHUTDOWN_SENT,
	STATE_SCTP_SHUTDOWN_RECEIVED,
	STATE_SCTP_SHUTDOWN_ACK_SENT,
	STATE_SCTP_REJECTED,
	STATE_SCTP_CLOSED,
	STATE_COUNT,
	STATE_SLOTS = 32, /* a power of two, for the verifier */
};

/* Bit of a template's protocol. No protocol that is balanced has it. */
#define PROTO_TEMPLATE 0x40

enum conn_flags {
	CONN_FORWARDING = 7,  /* mask: enum forwarding, as it was when the connection was made */
	CONN_CONFIRMED = 8,   /* TCP: the template knows that it is established; a template: it is
				 assured */
	CONN_KEEPS_PORT = 16, /* the real server's port is the virtual one, whatever its destination
				 says */
	CONN_SERVER_UNTOLD = 0x20, /* killed: the client's next packet goes to the real server */
	CONN_CLIENT_UNTOLD = 0x40, /* killed: the client does not know */
	CONN_PACKETS = 0xe0,	   /* mask, the highest bits: how many came from the client, 7 or
				      more: 7; for drop_entry. All are set by who kills: a packet
				      that found the connection before then is not counted */
} __attribute__((packed));

#define CONN_PACKETS_SHIFT 5

/* Where a connection's client is reached. */
struct client_hop {
	__u8 mac[6];
	__u16 ifindex; /* its low bits: they tell apart what settings' interfaces can hold */
} __attribute__((aligned(8)));

/* What a persistence template has in place of a way to its client. */
struct persistence {
	__u32 timeout; /* in ticks */
	__u32 call;    /* of engine sip: high half of the Call-ID's hash, else 0 */
};

#define CALL_BIT (1ULL << 32) /* set in each hash, so that call is never 0 */
#define CALL_MAX 255	      /* bytes of a Call-ID: IP_VS_PEDATA_MAXLEN */

/* Which template has a Call-ID. An entry that changed hands has another generation. */
struct call_key {
	__u32 location; /* number in the table plus one */
	__u32 generation;
};

struct call {
	__u8 length;
	__u8 text[CALL_MAX];
};

union conn_rest {
	struct persistence persistence;
	struct client_hop hop;
};

/*
 * One connection, found from both sides by its client's address, port and
 * protocol; the real address stands in the destination. Or a persistence
 * template, which has PROTO_TEMPLATE in its protocol, so that no packet finds it.
 */
struct conn {
	union addr cip;
	union addr vip;
	__be16 cport;
	__be16 vport;
	__u8 proto;
	enum conn_flags flags;
	__u16 hop_epoch; /* settings' epoch in which the hop was looked up, 0: learned from the
			    request */
	__u32 dest;
	__u32 expires; /* in ticks */
	union conn_rest rest;
	/*
	 * Of a connection the number of its template in the table plus one, or
	 * 0; of a template how many connections it controls.
	 */
	__u32 control;
	/* Of FTP's data: number of the control connection that told of it plus one, else 0. */
	__u32 teller;
};
_Static_assert(sizeof(struct conn) == CACHE_LINE, "conn is one cache line");

#endif
