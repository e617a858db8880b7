/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef LVSX_TYPES_CACHE_LINE_H
#define LVSX_TYPES_CACHE_LINE_H

#define CACHE_LINE 64

#endif
