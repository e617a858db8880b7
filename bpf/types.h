/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the datapath and the director share: keys, values and enums of the
 * maps. Go's types are generated from these headers, never written twice.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; addresses and ports are in
 * network byte order, everything else in the machine's.
 */
#ifndef LVSX_TYPES_H
#define LVSX_TYPES_H

#include <stddef.h>

#include "addr.h"
#include "types/cache_line.h"
#include "types/verdict.h"
#include "types/service.h"
#include "types/mark.h"
#include "types/dest.h"
#include "types/conn.h"
#include "types/life.h"
#include "types/fragment.h"
#include "types/vlan.h"
#include "types/settings.h"
#include "types/local.h"
#include "types/handover.h"
#include "types/clock.h"

#endif
