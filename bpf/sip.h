/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The persistence engine sip: datagrams of one call go to one destination. The
 * call's name is the header Call-ID (RFC 3261 section 20.8), looked for as
 * ip_vs_pe_sip.c does with nf_conntrack_sip.c: ct_sip_get_header(): anywhere at
 * a line's beginning, the body included; a value of words and one '@'; a value
 * that is none is passed over.
 */
#ifndef LVSX_SIP_H
#define LVSX_SIP_H

#include "maps.h"
#include "packet.h"
#include "types.h"

/* Of a datagram so many bytes are looked through. */
#define SIP_BYTES 4096

/* What is being read, in the order in which it comes. */
enum sip_part {
	SIP_LINES,
	SIP_BEFORE_COLON,
	SIP_BEFORE_COLON_FOLDED, /* at the beginning of the next line, which goes on with the header
				  */
	SIP_AFTER_COLON,
	SIP_AFTER_COLON_FOLDED,
	SIP_WORD,
	SIP_DOMAIN,
	SIP_FOUND,
	SIP_NOTHING,
};

struct sip_scan {
	__u64 hash;
	__u32 at;
	__u32 limit;
	__u32 start;  /* where the search for the header began */
	__u32 value;  /* where the value begins */
	__u32 domain; /* where what is behind the '@' begins */
	enum sip_part part;
};

/*
 * The scan is here and not on the stack because Linux 6.1's verifier takes what
 * it knows of the stack before a loop's first turn for what is true in all, and
 * removes the rest of the program.
 */
struct sip_scratch {
	__u8 bytes[SIP_BYTES];
	struct call call;
	struct sip_scan scan;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sip_scratch);
} sip_scratches SEC(".maps");

static __always_inline __u8 sip_byte(const struct sip_scratch *sip, __u32 at)
{
	return sip->bytes[at & (SIP_BYTES - 1)];
}

/* include/linux/ctype.h: Latin letters, those beyond ASCII included. */
static __always_inline int is_alpha(__u8 c)
{
	return (__u8)((c | 0x20) - 'a') < 26 || (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}

/* nf_conntrack_sip.c: iswordc(): letters, digits, and these. */
static __always_inline int is_word(__u8 c)
{
	/* ! " % ' ( ) * + - . / 0-9 : < > ? and [ \ ] _ ` { } ~ */
	const __u64 low = 0xd7ffefa600000000ULL, high = 0x68000001b8000000ULL;

	if (is_alpha(c))
		return 1;
	if (c >= 128)
		return 0;
	return (c < 64 ? low : high) >> (c & 63) & 1;
}

static __always_inline int is_line_end(__u8 c)
{
	return c == '\r' || c == '\n';
}

static __always_inline int is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

/* skip_line_end passes over one line's end, that at is at. */
static __always_inline void skip_line_end(const struct sip_scratch *sip, struct sip_scan *scan)
{
	__u8 c = sip_byte(sip, scan->at);

	scan->at++;
	if (c == '\r' && scan->at < scan->limit && sip_byte(sip, scan->at) == '\n')
		scan->at++;
}

/* The length of the header's name, in full or short, that stands at at; 0: another header. */
static __always_inline __u32 sip_name(const struct sip_scratch *sip, const struct sip_scan *scan)
{
	static const char name[] = "call-id";
	__u32 left = scan->limit - scan->at, same = 1;

	if ((sip_byte(sip, scan->at) | 0x20) == 'i' && left >= 2)
		return !is_alpha(sip_byte(sip, scan->at + 1));
	if (left < sizeof(name) - 1)
		return 0;
#pragma unroll
	for (__u32 i = 0; i < sizeof(name) - 1; i++) {
		__u8 c = sip_byte(sip, scan->at + i);

		same &= (name[i] == '-' ? c : c | 0x20) == name[i];
	}
	return same ? sizeof(name) - 1 : 0;
}

/* A step of the search for a line that begins with the header. */
static __always_inline void sip_lines(const struct sip_scratch *sip, struct sip_scan *scan)
{
	__u32 length;

	if (!is_line_end(sip_byte(sip, scan->at))) {
		scan->at++;
		return;
	}
	skip_line_end(sip, scan);
	if (scan->at >= scan->limit)
		return;
	length = is_blank(sip_byte(sip, scan->at)) ? 0 : sip_name(sip, scan);
	if (length)
		scan->part = SIP_BEFORE_COLON;
	scan->at += length ? length : 1;
}

/* A step over what may stand around the colon: blanks, and one line's end with blanks behind. */
static __always_inline int sip_space(const struct sip_scratch *sip, struct sip_scan *scan)
{
	__u8 c = sip_byte(sip, scan->at);

	if (scan->part == SIP_BEFORE_COLON_FOLDED || scan->part == SIP_AFTER_COLON_FOLDED) {
		scan->at += is_blank(c);
		return is_blank(c);
	}
	if (is_blank(c)) {
		scan->at++;
		return 1;
	}
	if (!is_line_end(c))
		return 0;
	skip_line_end(sip, scan);
	if (scan->at >= scan->limit || !is_blank(sip_byte(sip, scan->at)))
		scan->part = SIP_NOTHING;
	else
		scan->part++;
	return 1;
}

static __always_inline void sip_colon(const struct sip_scratch *sip, struct sip_scan *scan)
{
	if (sip_space(sip, scan))
		return;
	scan->part = sip_byte(sip, scan->at) == ':' ? SIP_AFTER_COLON : SIP_NOTHING;
	scan->at++;
}

static __always_inline void sip_value(const struct sip_scratch *sip, struct sip_scan *scan)
{
	if (sip_space(sip, scan))
		return;
	scan->part = SIP_WORD;
	scan->value = scan->at;
	scan->hash = hash_seed[0];
}

/* What ends a value: it was none, it is too long for the kernel, or the line ends. */
static __always_inline void sip_end(struct sip_scan *scan, __u8 c)
{
	if (scan->at == (scan->part == SIP_DOMAIN ? scan->domain : scan->value)) {
		/* get_callid() goes on as far behind where it began as this value is from 0. */
		scan->at = scan->start += scan->value;
		scan->part = SIP_LINES;
	} else if (scan->at - scan->value > CALL_MAX || !is_line_end(c)) {
		scan->part = SIP_NOTHING;
	} else {
		scan->part = SIP_FOUND;
	}
}

static __always_inline void sip_word(struct sip_scratch *sip, struct sip_scan *scan)
{
	__u32 length = scan->at - scan->value;
	__u8 c = sip_byte(sip, scan->at);
	int at_sign = scan->part == SIP_WORD && length && c == '@';

	if (!at_sign && !is_word(c)) {
		sip_end(scan, c);
		return;
	}
	if (length < CALL_MAX) {
		sip->call.text[length & 0xff] = c;
		sip->call.length = length + 1;
	}
	scan->hash = (scan->hash ^ c) * 0x100000001b3ULL; /* FNV-1a, from a secret basis */
	scan->at++;
	if (at_sign) {
		scan->part = SIP_DOMAIN;
		scan->domain = scan->at;
	}
}

static long sip_step(__u32 i __attribute__((unused)), void *none __attribute__((unused)))
{
	__u32 cpu = 0;
	struct sip_scratch *sip = bpf_map_lookup_elem(&sip_scratches, &cpu);
	struct sip_scan *scan;

	if (!sip)
		return 1;
	scan = &sip->scan;
	if (scan->at >= scan->limit || scan->part >= SIP_FOUND)
		return 1;
	if (scan->part == SIP_LINES)
		sip_lines(sip, scan);
	else if (scan->part <= SIP_BEFORE_COLON_FOLDED)
		sip_colon(sip, scan);
	else if (scan->part <= SIP_AFTER_COLON_FOLDED)
		sip_value(sip, scan);
	else
		sip_word(sip, scan);
	return 0;
}

/*
 * read_call reads the Call-ID of a datagram, whose payload begins at offset,
 * into the scratch. It returns its hash, or 0 if there is none.
 */
__noinline __u64 read_call(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	__u32 cpu = 0, last = (size < SIP_BYTES ? size : SIP_BYTES) - 1;
	struct sip_scratch *sip = bpf_map_lookup_elem(&sip_scratches, &cpu);

	if (!sip || !size)
		return 0;
	/* Bounds that the verifier of 6.1 follows, and clang must not see through. */
	asm volatile("" : "+r"(last));
	last &= SIP_BYTES - 1;
	if (bpf_xdp_load_bytes(ctx, offset, sip->bytes, last + 1))
		return 0;
	__builtin_memset(&sip->call, 0, sizeof(sip->call));
	sip->scan = (struct sip_scan){ .limit = last + 1 };
	/* A step for each byte, and one more for each part. */
	bpf_loop(SIP_BYTES + SIP_NOTHING, sip_step, NULL, 0);
	return sip->scan.part == SIP_FOUND ? sip->scan.hash | CALL_BIT : 0;
}

/* remember_call keeps the Call-ID that was read last, for listings, beside its template. */
__noinline int remember_call(__u32 location, __u32 generation)
{
	struct call_key key = { .location = location, .generation = generation };
	__u32 cpu = 0;
	struct sip_scratch *sip = bpf_map_lookup_elem(&sip_scratches, &cpu);

	return sip ? bpf_map_update_elem(&calls, &key, &sip->call, BPF_ANY) : 0;
}

#endif
