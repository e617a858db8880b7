/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Virtual services: their keys, their lists of destinations, their schedulers. */
#ifndef LVSX_TYPES_SERVICE_H
#define LVSX_TYPES_SERVICE_H

#include <linux/types.h>

#include "../addr.h"
#include "cache_line.h"

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

/* Of a firewall mark's service: the mark, and the family's unspecified address. */
struct service_key {
	union addr vip;
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u32 mark;
};
_Static_assert(sizeof(struct service_key) == 24, "service_key has holes");

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

#endif
