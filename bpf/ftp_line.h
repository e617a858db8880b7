/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A line of an FTP control connection, in a scratch: which port it tells of, and
 * the VIP put in place of the address in a 227.
 */
#ifndef LVSX_FTP_LINE_H
#define LVSX_FTP_LINE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "csum.h"

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

#endif
