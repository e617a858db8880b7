/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef LVSX_TYPES_VERDICT_H
#define LVSX_TYPES_VERDICT_H

#include <linux/types.h>

/*
 * What became of a packet. Each way out of the program is one of these and is
 * counted, so that packets in = the sum of all.
 */
enum verdict {
	/* to the kernel, untouched */
	VERDICT_NOT_OURS,	/* no service and no connection of ours */
	VERDICT_OTHER_PROTOCOL, /* ARP, GRE ... : nothing we balance */
	VERDICT_OTHER_HOST,	/* not addressed to this interface */
	VERDICT_MALFORMED,	/* headers that lie or are cut off */
	VERDICT_MARTIAN,	/* a source that no client can have */
	VERDICT_FRAGMENT,	/* a fragment, its ports are elsewhere */
	VERDICT_NO_CONNECTION,	/* mid-stream, but no connection: the kernel answers RST */
	VERDICT_UNRELATED,	/* an ICMP error about no connection of ours */
	VERDICT_LOCAL,		/* the destination is the director itself */
	VERDICT_BYPASS,		/* there is no real server: it goes on to where it was sent */
	VERDICT_REPLY_EXPIRED,	/* a reply with TTL 1: the kernel tells its sender */
	VERDICT_UNTRUSTED,	/* in a tunnel to this director, but of none of its fronts */
	/* sent on */
	VERDICT_MASQ_IN,
	VERDICT_MASQ_OUT,
	VERDICT_TUNNEL,
	VERDICT_ROUTE,
	VERDICT_ERROR_IN,  /* an ICMP error from the client's side to the real server */
	VERDICT_ERROR_OUT, /* an ICMP error from the real server's side to the client */
	/* answered with an ICMP error */
	VERDICT_NO_DESTINATION, /* port unreachable */
	VERDICT_NO_ROUTE,	/* host unreachable */
	VERDICT_TTL_EXCEEDED,	/* time exceeded */
	VERDICT_TOO_BIG,	/* fragmentation needed */
	VERDICT_STRAY,		/* port unreachable, to a NAT real server: of no connection */
	VERDICT_RESET,		/* RST, or port unreachable: the connection is ended */
	/* dropped */
	VERDICT_DESTINATION_GONE,  /* removed while its connection lives */
	VERDICT_TABLE_FULL,	   /* no room for a new connection */
	VERDICT_NO_CALL_ID,	   /* nothing that the persistence engine sip could go by */
	VERDICT_NO_NEIGHBOUR,	   /* next hop not resolved */
	VERDICT_NO_PORT,	   /* interface cannot send */
	VERDICT_BAD_CHECKSUM,	   /* an ICMP error that NAT would have to change */
	VERDICT_ERROR_EXPIRED,	   /* an ICMP error with TTL 1 */
	VERDICT_NEEDS_FRAGMENTING, /* too big, may be fragmented, we do not */
	VERDICT_MERGED,	      /* merged by offload above the MTU, generic XDP cannot redirect it */
	VERDICT_NO_ROOM,      /* the driver left no headroom for a header */
	VERDICT_DEFENCE,      /* drop_packet: not every new connection is taken */
	VERDICT_BAD_FRAGMENT, /* tiny, or over what came before: only an attacker makes such */
	VERDICT_UNANSWERED,   /* an ICMP error was due, but too many were sent */
	VERDICT_LOOPBACK,     /* from outside to 127.0.0.1 or ::1, or from there to outside */
	VERDICT_EARLY,	      /* kept until its first fragment is there, then it comes in again */
	VERDICT_NO_PROGRAM,   /* the program for such packets was taken away */
	/* in a front's tunnel, dropped */
	VERDICT_OUTER_FRAGMENT, /* a fragment of the tunnel's packet */
	VERDICT_BAD_TUNNEL,	/* as no front makes it, or no whole packet inside */
	VERDICT_NESTED,		/* a tunnel in the tunnel */
	VERDICT_NOT_VIP,	/* for no virtual service */
	VERDICT_COUNT,
	VERDICT_SLOTS = 64, /* a power of two, for the verifier */
};
_Static_assert(VERDICT_COUNT <= VERDICT_SLOTS, "each verdict is counted");

/* CPUs beyond these count where others do, and may miss a packet. */
#define VERDICT_CPUS 1024

/* Packets that came to each verdict on one CPU. */
struct verdict_counts {
	__u64 of[VERDICT_SLOTS];
};

#endif
