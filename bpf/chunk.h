/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an SCTP packet says: its header and its chunks (RFC 9260 section 3). */
#ifndef LVSX_CHUNK_H
#define LVSX_CHUNK_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct sctp_header {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum;
};

struct sctp_chunk {
	__u8 type;
	__u8 flags;
	__be16 length; /* with this header, without the padding */
};

/* What a chunk is to the states of a connection (ip_vs_proto_sctp.c: sctp_events). */
enum sctp_event {
	SCTP_DATA, /* and whatever else moves nothing */
	SCTP_INIT,
	SCTP_INIT_ACK,
	SCTP_COOKIE_ECHO,
	SCTP_COOKIE_ACK,
	SCTP_SHUTDOWN,
	SCTP_SHUTDOWN_ACK,
	SCTP_SHUTDOWN_COMPLETE,
	SCTP_ERROR,
	SCTP_ABORT,
	SCTP_EVENTS,
	SCTP_UNREADABLE = SCTP_EVENTS,
	SCTP_COOKIE_AND_ABORT, /* ends a connection, and may begin one (sctp_conn_schedule()) */
};

static const __u8 sctp_events[] = {
	[1] = SCTP_INIT,	 [2] = SCTP_INIT_ACK,	  [6] = SCTP_ABORT,
	[7] = SCTP_SHUTDOWN,	 [8] = SCTP_SHUTDOWN_ACK, [9] = SCTP_ERROR,
	[10] = SCTP_COOKIE_ECHO, [11] = SCTP_COOKIE_ACK,  [14] = SCTP_SHUTDOWN_COMPLETE,
	[15] = SCTP_DATA,
};

static __always_inline enum sctp_event event_of(const struct sctp_chunk *chunk)
{
	return chunk->type < sizeof(sctp_events) ? sctp_events[chunk->type] : SCTP_DATA;
}

/* padded_length is where the next chunk is in the room that begins with one; 0: there is none. */
static __always_inline __u32 padded_length(const struct sctp_chunk *chunk, __u32 room)
{
	__u32 length = bpf_ntohs(chunk->length);
	__u32 padded = (length + 3) & ~3u; /* to whole words */

	return length < sizeof(*chunk) || padded + sizeof(*chunk) > room ? 0 : padded;
}

static __always_inline int is_cookie(enum sctp_event event)
{
	return event == SCTP_COOKIE_ECHO || event == SCTP_COOKIE_ACK;
}

static __always_inline int is_abort_behind(struct xdp_md *ctx, const struct sctp_chunk *chunk,
					   __u32 offset, __u32 room)
{
	__u32 padded = padded_length(chunk, room);
	struct sctp_chunk next;

	return padded && !bpf_xdp_load_bytes(ctx, offset + padded, &next, sizeof(next)) &&
	       event_of(&next) == SCTP_ABORT;
}

/* Above an event: whether it begins a connection, as a TCP SYN does. */
#define SCTP_BEGINS_SHIFT 8

/*
 * sctp_event goes by the first chunk of a packet of size bytes at offset in the
 * frame, but an ABORT right behind a cookie counts (ip_vs_proto_sctp.c:
 * set_sctp_state()). A function of its own, so that the verifier looks through it
 * once.
 */
__noinline __u32 sctp_event(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	const __u32 header = sizeof(struct sctp_header);
	struct sctp_chunk chunk;
	enum sctp_event event;

	if (size < header + sizeof(chunk) ||
	    bpf_xdp_load_bytes(ctx, offset + header, &chunk, sizeof(chunk)))
		return SCTP_UNREADABLE;
	event = event_of(&chunk);
	if (event == SCTP_INIT)
		return SCTP_INIT | 1 << SCTP_BEGINS_SHIFT;
	if (is_cookie(event) && is_abort_behind(ctx, &chunk, offset + header, size - header))
		return SCTP_COOKIE_AND_ABORT;
	return event;
}

#endif
