/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The TCP states of a connection as the kernel's IPVS follows them
 * (net/netfilter/ipvs/ip_vs_proto_tcp.c: tcp_states, and tcp_states_dos while
 * secure_tcp is in force). No windows, no sequence numbers. NAT sees both
 * halves; DR and TUN see the client's alone and guess.
 */
#ifndef LVSX_TCP_H
#define LVSX_TCP_H

#include "maps.h"
#include "packet.h"
#include "types.h"

enum half {
	HALF_INPUT,
	HALF_OUTPUT,
	HALF_INPUT_ONLY,
	HALF_COUNT,
};

#define TCP_STATES (STATE_SYNACK + 1)

#define NO STATE_NONE
#define ES STATE_ESTABLISHED
#define SS STATE_SYN_SENT
#define SR STATE_SYN_RECV
#define FW STATE_FIN_WAIT
#define TW STATE_TIME_WAIT
#define CL STATE_CLOSE
#define CW STATE_CLOSE_WAIT
#define LA STATE_LAST_ACK
#define LI STATE_LISTEN
#define SA STATE_SYNACK

/* clang-format off */
static const __u8 tcp_next[2][HALF_COUNT][EVENT_COUNT][TCP_STATES] = {
	{
		[HALF_INPUT] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
			[EVENT_FIN] = { CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW },
			[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
			[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR },
		},
		[HALF_OUTPUT] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR },
			[EVENT_FIN] = { TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW },
			[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES },
			[EVENT_RST] = { CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL },
		},
		[HALF_INPUT_ONLY] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
			[EVENT_FIN] = { CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW },
			[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
			[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
		},
	},
	{ /* secure_tcp */
		[HALF_INPUT] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA },
			[EVENT_FIN] = { CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA },
			[EVENT_ACK] = { ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA },
			[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
		},
		[HALF_OUTPUT] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA },
			[EVENT_FIN] = { TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW },
			[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES },
			[EVENT_RST] = { CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL },
		},
		[HALF_INPUT_ONLY] = {
			/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
			[EVENT_SYN] = { SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA },
			[EVENT_FIN] = { CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW },
			[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
			[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
		},
	},
};
/* clang-format on */

#undef NO
#undef ES
#undef SS
#undef SR
#undef FW
#undef TW
#undef CL
#undef CW
#undef LA
#undef LI
#undef SA

static __always_inline enum state tcp_step(enum state state, enum half half, enum event event)
{
	/* Nearly every packet, and by all tables. */
	if (likely(event == EVENT_ACK && state == STATE_ESTABLISHED))
		return STATE_ESTABLISHED;
	if (event >= EVENT_COUNT || state >= TCP_STATES)
		return STATE_CLOSE;
	return tcp_next[settings.switches.secure_tcp & 1][half][event][state];
}

static __always_inline int is_active(enum state state)
{
	const __u32 active = 1 << STATE_ESTABLISHED | 1 << STATE_SYN_SENT | 1 << STATE_SYN_RECV |
			     1 << STATE_SYNACK | 1 << STATE_SCTP_ESTABLISHED;

	return active >> state & 1;
}

#endif
