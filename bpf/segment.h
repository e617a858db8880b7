/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What clients send to a service behind a front comes through the front's
 * tunnel, so their segments have to leave room for its headers. They are told
 * by the MSS option of the answer to their SYN (RFC 9293, section 3.7.1), which
 * does not go past the front.
 */
#ifndef LVSX_SEGMENT_H
#define LVSX_SEGMENT_H

#include "csum.h"
#include "packet.h"
#include "service.h"
#include "types.h"

#define OPTION_MSS 2

struct mss_option {
	__u8 kind;
	__u8 size;
	__be16 mss;
};
_Static_assert(sizeof(struct mss_option) == 4, "mss_option has holes");

/* A frame may be filled up behind its packet. */
static __always_inline int has_room_for_option(const struct packet *pkt)
{
	return pkt->length >=
	       header_length(pkt) + sizeof(struct tcphdr) + sizeof(struct mss_option);
}

/* is_above tells whether a SYN's first option is a larger MSS. */
static __always_inline int is_above(const struct tcphdr *tcp, const struct mss_option *option,
				    __u16 most)
{
	return tcp->syn && tcp->doff * 4 >= sizeof(*tcp) + sizeof(*option) &&
	       option->kind == OPTION_MSS && option->size == sizeof(*option) &&
	       bpf_ntohs(option->mss) > most;
}

/*
 * limit_segments lowers the MSS in a reply, and returns what checksums over it
 * gain. Linux writes the option first (net/ipv4/tcp_output.c: tcp_options_write()),
 * and so do others.
 */
static __always_inline __u64 limit_segments(struct packet *pkt)
{
	struct tcphdr *tcp = pkt->l4;
	struct mss_option *option = (void *)(tcp + 1);
	__u16 most = settings.front_segments[!!pkt->ipv6];
	__be16 before;

	if (pkt->flow.proto != IPPROTO_TCP || !most || !has_room_for_option(pkt) ||
	    (void *)(option + 1) > pkt->end || !is_above(tcp, option, most))
		return 0;
	before = option->mss;
	option->mss = bpf_htons(most);
	return csum_change16(before, option->mss);
}

#endif
