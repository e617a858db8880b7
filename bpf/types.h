/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the datapath and the director share: keys, values and enums of the
 * maps. Go's types are generated from this file, never written twice.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; addresses and ports are in
 * network byte order, everything else in the machine's.
 */
#ifndef LVSX_TYPES_H
#define LVSX_TYPES_H

#include <stddef.h>
#include <linux/types.h>

#include "addr.h"

#define CACHE_LINE 64

/* The kernel's IP_VS_CONN_F_FWD_MASK values. */
enum forwarding {
	FORWARDING_MASQ = 0,
	FORWARDING_TUNNEL = 2,
	FORWARDING_ROUTE = 3,
} __attribute__((packed));

#define DEST_NONE 0xffffffff

enum scheduler {
	SCHEDULER_NONE,
	SCHEDULER_RR,
	SCHEDULER_WRR,
	SCHEDULER_LC,
	SCHEDULER_WLC,
	SCHEDULER_SED,
	SCHEDULER_NQ,
	SCHEDULER_FO,
	SCHEDULER_OVF,
	SCHEDULER_TWOS,
	SCHEDULER_LBLC,
	SCHEDULER_LBLCR,
	SCHEDULER_DH,
	SCHEDULER_SH,
	SCHEDULER_MH,
};

/* include/net/ip_vs.h: IP_VS_TCP_S_*; UDP has the one state STATE_UDP. */
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
	STATE_COUNT,
	STATE_SLOTS = 16, /* a power of two, for the verifier */
};

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
	VERDICT_REPLY_EXPIRED,	/* a reply with TTL 1: the kernel tells its sender */
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
	VERDICT_COUNT,
};

/* Whose fragments belong together (RFC 791, section 3.2; RFC 8200, section 4.5). */
struct fragment_key {
	union addr src;
	union addr dst;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key has holes");

/* What a first fragment leaves for those after it. */
struct fragment {
	__be16 source; /* ports */
	__be16 dest;
	__u32 expires; /* in ticks */
	__u32 once;    /* the destination of one packet that left no connection, or DEST_NONE */
	__u32 end;     /* of the first, in bytes */
};
_Static_assert(sizeof(struct fragment) == 16, "fragment has holes");

/* Of a firewall mark's service: the mark, and the family's unspecified address. */
struct service_key {
	union addr vip;
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u32 mark;
};
_Static_assert(sizeof(struct service_key) == 24, "service_key has holes");

/* A network of VIPs, for the longest prefix to be found. */
struct mark_key {
	__u32 prefix; /* bits that count of all below */
	__u8 proto;
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 pad[2];
	union addr vip;
};
_Static_assert(sizeof(struct mark_key) == 24, "mark_key has holes");

#define MARK_KEY_BITS 160 /* of a whole address */

/* Where a network's steps are, by port. */
struct mark_list {
	__u32 first; /* index in mark_steps */
	__u32 count; /* at least one; the first is at port 0 */
};

/* From this port on, packets have this mark; 0 is none. */
struct mark_step {
	__u32 port;
	__u32 mark;
};

enum mark_use {
	MARK_FREE,
	MARK_CONFIGURED,
	MARK_DELETED, /* connections that came by it may live on: its VIPs stay in the filter */
};

/* A rule as the user gave it, for the director alone. */
struct mark_rule {
	union addr vip;
	__u8 bits;  /* of the prefix, of an IPv4 network 32 at most */
	__u8 proto; /* 0: each that services have */
	__u16 first_port;
	__u16 last_port;
	__u16 pad;
	__u32 mark;
	enum mark_use use;
};
_Static_assert(sizeof(struct mark_rule) == 32, "mark_rule has holes");

/* The kernel's IP_VS_SVC_F_*, those that the datapath minds. */
enum service_flags {
	SERVICE_PERSISTENT = 0x01,
	SERVICE_ONE_PACKET = 0x04,  /* UDP: each packet is a connection of its own */
	SERVICE_FALLS_BACK = 0x08,  /* -b sh-fallback, mh-fallback */
	SERVICE_HASHES_PORT = 0x10, /* -b sh-port, mh-port */
};

/* Persistence engines: what besides the client's address keeps connections together. */
enum engine {
	ENGINE_NONE,
	ENGINE_SIP, /* the Call-ID */
} __attribute__((packed));

/* What becomes of connections whose real server is taken out of the service. */
enum removal {
	REMOVAL_SILENT, /* expire_nodest_conn says; by default their packets are dropped */
	REMOVAL_RESET,	/* both ends are told */
	REMOVAL_MOVE,	/* another real server takes over what can be taken over */
} __attribute__((packed));

enum service_use {
	SERVICE_FREE,
	SERVICE_CONFIGURED,
	SERVICE_DELETED, /* some of its connections live on; its key is remembered */
};

/*
 * Where a list starts in the slots map and where its scheduler stands. Both
 * words are exchanged whole, so that no packet sees half a change.
 */
struct service {
	__u32 list; /* index in lists */
	enum scheduler scheduler;
	/*
	 * rr and wrr: low half the position of the last pick, 0 for the head
	 * of the list, i + 1 for slot i; high half wrr's current weight.
	 * lblc and lblcr: the number of their cache, a new one each time.
	 */
	__u64 cursor;
	struct service_key key;
	__u32 flags; /* IP_VS_SVC_F_*; see enum service_flags */
	enum service_use use;
	/* Of persistence: */
	__u32 netmask; /* IPv4: of the client's address, in network order; IPv6: prefix length */
	__u32 timeout; /* of templates, in ticks */
	__u32 timeout_seconds; /* as it was configured */
	enum engine engine;
	enum removal removal;
	__u8 timeouts; /* which of settings' sets its connections have */
	__u8 pad;
};
_Static_assert(sizeof(struct service) == CACHE_LINE, "service is one cache line");

/* One destination in a list, in the kernel's order: newest first. */
struct slot {
	__u32 dest;
	__s32 weight;
};

/*
 * A service's destinations. Each service has two lists, of which it names one;
 * the director writes the other and switches.
 */
struct list {
	__u32 first; /* index in slots */
	__u32 count;
	__u32 gcd;	  /* of the positive weights, 1 if there are none */
	__s32 max_weight; /* the kernel's mw: largest weight - (gcd - 1); 0: nothing to choose */
	__u32 room;	  /* slots from first on that belong to the list */
	__u32 table;	  /* dh, sh and mh: index in tables */
	__u32 table_size; /* places; 0: no table */
	__u32 table_room; /* lines from table on that belong to the list */
};
_Static_assert(sizeof(struct list) == 32, "list has holes");

#define TABLE_LINE 32

/* Places of a list's table, each with a position in the list. */
struct table_line {
	__u16 positions[TABLE_LINE];
};
_Static_assert(sizeof(struct table_line) == CACHE_LINE, "table_line is one cache line");

/*
 * What lblc and lblcr remember of an address. lblc's one destination and
 * lblcr's set are entries with DEST_NONE; each member of a set is one more.
 */
struct cache_key {
	union addr vip;
	__u64 cache;
	__u32 dest;
	__u32 pad;
};
_Static_assert(sizeof(struct cache_key) == 32, "cache_key has holes");

struct cache_entry {
	__u32 dest;	/* lblc: who serves the address */
	__u32 used;	/* at which tick, the last time */
	__u32 modified; /* lblcr: when the set changed */
	__u32 order;	/* lblcr: of the member, in the set the one given last */
};

/* Everything that a frame needs to reach its next stop. */
struct hop {
	__u8 dmac[6];
	__u8 smac[6];
	__u32 ifindex; /* 0: not resolved */
};

enum dest_flags {
	DEST_AVAILABLE = 1, /* configured; clear while removed and remembered */
	DEST_LOCAL = 2,	    /* an address of the director itself */
	DEST_NO_ROUTE = 4,  /* the director has no route to it */
	DEST_WAS_MASQ = 8,  /* has been a NAT destination: connections may remember */
	DEST_QUIESCED = 16, /* its weight is 0; the field weight says what it was before */
} __attribute__((packed));

/* The kernel's IP_VS_CONN_F_TUNNEL_TYPE_* and IP_VS_TUNNEL_ENCAP_FLAG_*. */
enum tunnel {
	TUNNEL_IPIP,
	TUNNEL_GUE,
	TUNNEL_GRE,
	TUNNEL_TYPE = 3,	 /* mask */
	TUNNEL_CSUM = 1 << 2,	 /* GUE and GRE: with a checksum */
	TUNNEL_REMCSUM = 2 << 2, /* GUE: likewise, as no checksum inside is unfinished here */
} __attribute__((packed));

#define TUNNEL_FLAGS_SHIFT 2

/* A destination: its identity first, then how to reach it. */
struct dest {
	union addr rip;
	union addr tunnel_source; /* outer source address; the route's preferred one */
	struct hop next;
	__be16 port; /* 0: the port that the client asked for */
	enum forwarding forwarding;
	enum dest_flags flags;
	__u16 mtu;     /* of the route to the real server */
	__u8 timeouts; /* the service's */
	enum tunnel tunnel;
	__u16 service;	    /* index in services */
	__be16 tunnel_port; /* of GUE */
	__s32 weight;
};
_Static_assert(sizeof(struct dest) == CACHE_LINE, "dest is one cache line");

/* Connections of a destination now, apart from it because they are written. */
struct dest_load {
	__u32 active;
	__u32 total; /* active and inactive */
	__u32 upper; /* the thresholds, as configured */
	__u32 lower;
	__u32 reached;	  /* total was at upper, and no connection began below the lower threshold
			     since */
	__u32 persistent; /* persistence templates; no part of total */
};
_Static_assert(sizeof(struct dest_load) == 24, "dest_load has holes");

/* Per CPU. Bytes are of the IP packet. In: client to real server. */
struct stats {
	__u64 conns;
	__u64 in_pkts;
	__u64 out_pkts;
	__u64 in_bytes;
	__u64 out_bytes;
};

/* Bit of a template's protocol. No protocol that is balanced has it. */
#define PROTO_TEMPLATE 0x40

enum conn_flags {
	CONN_FORWARDING = 7,  /* mask: enum forwarding, as it was when the connection was made */
	CONN_CONFIRMED = 8,   /* TCP: the template knows that it is established; a template: it is
				 assured */
	CONN_KEEPS_PORT = 16, /* the real server's port is the virtual one, whatever its destination
				 says */
	CONN_SERVER_TOLD = 0x20, /* killed: the client's last packet went to the real server */
	CONN_CLIENT_TOLD = 0x40, /* killed: the client was told */
	CONN_PACKETS = 0xe0,	 /* mask: how many came from the client, 7 or more: 7; counted for
				    drop_entry */
} __attribute__((packed));

#define CONN_PACKETS_SHIFT 5

/* Where a connection's client is reached. */
struct client_hop {
	__u8 mac[6];
	__u16 ifindex; /* its low bits: they tell apart what settings' interfaces can hold */
};

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
	__u32 pad;
};
_Static_assert(sizeof(struct conn) == CACHE_LINE, "conn is one cache line");

enum phase {
	PHASE_FREE,
	PHASE_BUSY,
	PHASE_LIVE,
	PHASE_DEAD,
};

/*
 * A connection's life, apart from its entry: phase (2 bits), tag (12 bits of
 * the hash), state (5 bits), whether it is
 * confirmed, and generation (12 bits).
 * It is one word, changed only by compare-and-swap, so that who changes it owns
 * what it stands for: FREE -> BUSY (claimed by one writer) -> LIVE -> DEAD ->
 * FREE (both by ageing, with time between). A dead connection, and a live one
 * that has expired or must give way, may go to BUSY with another generation:
 * who reads the entry of a live one therefore reads life again afterwards.
 */
#define LIFE_PHASE_MASK 3
#define LIFE_TAG_SHIFT 2
#define LIFE_TAG_MASK 0xfff
#define LIFE_KEY_MASK 0x3fff /* phase and tag */
#define LIFE_STATE_SHIFT 14
#define LIFE_STATE_MASK 0x1f
#define LIFE_CONFIRMED                                                                             \
	(1 << 19) /* UDP: more than one packet was seen; a template: it is assured                 \
		   */
#define LIFE_GENERATION_SHIFT 20
#define LIFE_GENERATION_MASK 0xfff
_Static_assert(STATE_COUNT <= LIFE_STATE_MASK + 1, "a life holds any state");

#define GROUP_CONNS 15

struct group {
	__u32 lives[GROUP_CONNS];
	/*
	 * When somebody last looked for room beyond this group, and how far:
	 * ticks << PASSED_SHIFT | enum passed << 2 | PASSED_MARK; 0: nobody
	 */
	__u32 passed;
};
_Static_assert(sizeof(struct group) == CACHE_LINE, "group is one cache line");

#define PASSED_MARK PHASE_BUSY /* looks like a life that is neither free nor live */
#define PASSED_SHIFT 4

/* How far somebody went from a group; each includes those before it. */
enum passed {
	PASSED_NOT,
	PASSED_TO_SECOND, /* from the first group of some connection to its second */
	PASSED_BEYOND,	  /* from a second one, or one that follows it */
	PASSED_WITH_KIN,  /* so far that only those of one client's port go there */
};

enum interface_flags {
	INTERFACE_GENERIC = 1,	  /* generic XDP: sees packets merged by offload */
	INTERFACE_HANDS_OVER = 2, /* the tc program behind XDP sends all packets */
	INTERFACE_SPLITS = 4,	  /* it can send those that are too big, in fragments */
};

/* An interface that the director is attached to. */
struct interface {
	__u32 ifindex;
	__u8 mac[6];
	__u16 mtu;
	enum interface_flags flags;
};
_Static_assert(sizeof(struct interface) == 16, "interface has holes");

#define FILTER_BITS 16
#define FILTER_WORDS (1 << (FILTER_BITS - 6))
#define INTERFACES 1024

#define TIMEOUT_SETS 256

/* How long connections last in each state, in ticks. */
struct timeout_set {
	__u32 states[STATE_SLOTS];
};

/* The kernel's sysctls net.ipv4.vs.*, those that the datapath minds. */
struct switches {
	__u32 conn_reuse_mode;
	__s32 drop_rate; /* of packets that would begin a connection one in so many is dropped; 0:
			    none */
	__s32 drop_counter; /* the datapath's */
	__u8 expire_nodest_conn;
	__u8 expire_quiescent_template;
	__u8 nat_icmp_send;
	__u8 pmtu_disc;
	__u8 schedule_icmp;
	__u8 sloppy_sctp;
	__u8 sloppy_tcp;
	__u8 secure_tcp; /* now, and not whether it might be */
	__u8 drop_entry; /* whether it might drop entries: packets are counted for it */
	__u8 pad[3];
};
_Static_assert(sizeof(struct switches) == 24, "switches has holes");

/* Services that may be for a packet whose port has none, if there are any. */
enum wildcards {
	WILDCARD_FTP = 1,	/* of TCP port 21: data connections */
	WILDCARD_PORT_ZERO = 2, /* of all ports that have none */
};

/* What the director sets while packets flow. */
struct director_settings {
	/*
	 * One bit for each hashed address: of VIPs that have services, mark rules
	 * or connections, and of NAT's real servers. Whatever hits neither is
	 * none of ours and costs no lookup.
	 */
	__u64 vips[FILTER_WORDS];
	__u64 rips[FILTER_WORDS];
	struct interface interfaces[INTERFACES];   /* at ifindex modulo INTERFACES */
	struct timeout_set timeouts[TIMEOUT_SETS]; /* the first is that of --set */
	struct switches switches;
	__u32 lblcr_expiration;	 /* of a destination in a set, in ticks */
	__u32 postponement;	 /* of a template's end while it controls connections, in ticks */
	__u32 mark_rules;	 /* how many there are */
	__u32 fragment_life;	 /* how long a first fragment is remembered, in ticks */
	__u16 epoch;		 /* bumped by any route or neighbour change, never 0 */
	__u16 unprivileged_port; /* the first, in the machine's order */
	enum wildcards wildcards;
};

enum handover_work {
	HANDOVER_SEND,
	HANDOVER_MASQ,	 /* the transport checksum follows a change of one address and port */
	HANDOVER_TUNNEL, /* an outer header is to be put in front */
	HANDOVER_SPLIT,	 /* it is too big, and to be cut into fragments */
} __attribute__((packed));

/*
 * What XDP in generic mode leaves to the tc program behind it, in front of the
 * packet. There a packet may be merged beyond the MTU and its checksum be
 * unfinished; the stack can send such, XDP cannot.
 */
struct handover {
	__u32 ifindex;
	union {
		__u32 dest;   /* whose outer header it is */
		__u32 change; /* what the transport checksum gains by the new address */
	};
	__be16 from_port; /* before; of GUE: the outer source port */
	__be16 to_port;	  /* and after */
	union {
		__u16 check; /* where in the frame the transport checksum stands */
		__u16 mtu;   /* to which to cut */
	};
	union {
		__u8 proto;
		__u8 may_fragment; /* of an outer header: without DF */
	};
	enum handover_work work;
};

/* How a TCP packet that became a RST was cut. */
struct cut {
	__u16 before; /* sum over its segment */
	__u16 after;  /* and over what is left */
	__be16 size;  /* of the segment as it was; 0: it was not cut */
	__u16 check;  /* where in the frame the checksum stands */
};

/* All that stands before a packet that is handed over. */
struct left {
	struct handover handover;
	struct cut cut;
};
_Static_assert(sizeof(struct left) <= 32, "it fits before a packet");

/* What a user set of a set of timeouts, for the director alone. */
struct timeout_setting {
	__u32 seconds[STATE_SLOTS]; /* 0: that of the first set, of which the kernel's default */
};

/* What a user set of the sysctls, for the director alone. */
struct sysctl_key {
	__u8 name[32];
};

/* Where a test says what time it is and learns what became of its packet. */
struct test_case {
	__u32 now;  /* in ticks */
	__u32 dice; /* what the first throw shows */
	enum verdict verdict;
	enum state state; /* of the packet's connection, if it went by one */
};

/* Two clocks at one moment. */
struct clock_reading {
	__u64 jiffies;
	__u64 monotonic; /* in nanoseconds */
};

#endif
