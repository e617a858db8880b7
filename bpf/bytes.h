/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Any bytes as a word: clang takes it that other types' words are elsewhere, and may read first
 * what is written so. */
#ifndef LVSX_BYTES_H
#define LVSX_BYTES_H

#include <linux/types.h>

typedef __u16 __attribute__((__may_alias__)) bytes2;
typedef __u32 __attribute__((__may_alias__)) bytes4;
typedef __u64 __attribute__((__may_alias__)) bytes8;

#endif
