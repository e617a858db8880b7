/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the director sets while packets flow. */
#ifndef LVSX_TYPES_SETTINGS_H
#define LVSX_TYPES_SETTINGS_H

#include <linux/types.h>

#include "conn.h"

enum interface_flags {
	INTERFACE_GENERIC = 1,	  /* generic XDP: sees packets merged by offload */
	INTERFACE_HANDS_OVER = 2, /* the tc program behind XDP sends all packets */
	INTERFACE_SPLITS = 4,	  /* it can send those that are too big, in fragments */
	INTERFACE_LOCAL = 8,	  /* by it come packets that the director itself sends */
};

/* An interface that the director is attached to. */
struct interface {
	__u32 ifindex;
	enum interface_flags flags;
	__u8 mac[6];
	__u16 mtu;
};
_Static_assert(sizeof(struct interface) == 16, "interface has holes");

#define INTERFACES 1024
#define TIMEOUT_SETS 256
#define FILTER_BITS 16

/* What an address may be of ours. */
enum filter_use {
	FILTER_VIP = 1, /* has services, mark rules or connections */
	FILTER_RIP = 2, /* NAT's real server */
} __attribute__((packed));

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
	__u8 cache_bypass;
	__u8 pad[3];
};
_Static_assert(sizeof(struct switches) == 24, "switches has holes");

/* Services that may be for a packet whose port has none, if there are any. */
enum wildcards {
	WILDCARD_FTP = 1,	/* of TCP port 21: data connections */
	WILDCARD_PORT_ZERO = 2, /* of all ports that have none */
};

enum credit_use {
	CREDIT_ICMP,  /* errors sent */
	CREDIT_EARLY, /* fragments kept */
	CREDIT_COUNT,
};

/* How often something may be done now. */
struct credit {
	__u32 filled; /* at which tick */
	__s32 left;   /* CPUs that ask at once may push it below 0 */
};

/* What the director sets while packets flow. */
struct director_settings {
	struct interface interfaces[INTERFACES]; /* at ifindex modulo INTERFACES */
	struct switches switches;
	__u32 lblcr_expiration;	 /* of a destination in a set, in ticks */
	__u32 postponement;	 /* of a template's end while it controls connections, in ticks */
	__u32 mark_rules;	 /* how many there are */
	__u32 first_timeout;	 /* of a connection until a packet of it is seen, in ticks */
	__u32 second;		 /* in ticks */
	__u32 icmp_rate;	 /* ICMP errors that may be sent in a second; 0: any number */
	__u32 icmp_burst;	 /* at once */
	__u32 local_ifindex;	 /* of the interface with INTERFACE_LOCAL, 0: there is none */
	__u32 local_servers;	 /* whether the director itself is a real server */
	__u32 fragment_life;	 /* how long a first fragment is remembered, in ticks */
	__u16 epoch;		 /* bumped by any route or neighbour change, never 0 */
	__u16 unprivileged_port; /* the first, in the machine's order */
	enum wildcards wildcards;
	__u32 fronts; /* directors in front, that send packets here in tunnels: how many */
	__u16 front_segments[2]; /* largest of TCP that their tunnels hold, of IPv4 and IPv6 */
	struct timeout_set timeouts[TIMEOUT_SETS]; /* the first is that of --set */
};

/* What a user set of a set of timeouts, for the director alone. */
struct timeout_setting {
	__u32 seconds[STATE_SLOTS]; /* 0: that of the first set, of which the kernel's default */
};

/* What a user set of the sysctls, for the director alone. */
struct sysctl_key {
	__u8 name[32];
};

#endif
