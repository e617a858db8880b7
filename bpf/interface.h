/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The interfaces that the director is told of, and how a frame leaves by one. */
#ifndef LVSX_INTERFACE_H
#define LVSX_INTERFACE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "types.h"

static __always_inline const struct interface *find_interface(__u32 ifindex)
{
	return &settings.interfaces[ifindex & (INTERFACES - 1)];
}

/* All bits in which an interface differs from that of a number without some flags. */
static __always_inline __u64 difference_without(const struct interface *interface, __u32 ifindex,
						enum interface_flags flags)
{
	const __u64 number_and_flags = *(const __u64 *)interface;

	return (number_and_flags & ((__u64)flags << 32 | ~0u)) ^ ifindex;
}

/*
 * send_known sends a frame that is addressed by an interface that the director is told of. It
 * returns an XDP action: XDP_DROP, if it is no port.
 */
static __always_inline int send_known(struct xdp_md *ctx, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect_map(&ports, ifindex & (INTERFACES - 1), XDP_DROP);
}

/* send_from is send_known() of any interface. */
static __always_inline int send_from(struct xdp_md *ctx, __u32 ifindex)
{
	return find_interface(ifindex)->ifindex == ifindex ? send_known(ctx, ifindex) : XDP_DROP;
}

#endif
