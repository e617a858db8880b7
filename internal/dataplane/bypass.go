// SPDX-License-Identifier: Apache-2.0

package dataplane

import "net/netip"

// bypass is the destination of all connections that go on to where they were
// sent, with setting cache_bypass. It is of no service.
func (d *Dataplane) bypass() uint32 {
	return uint32(len(d.dests.at) - 1)
}

// bypassEntry leaves packets to the kernel, as those of a local real server are.
var bypassEntry = directorDest{
	Forwarding: directorForwardingFORWARDING_BYPASS,
	Flags:      directorDestFlagsDEST_AVAILABLE | directorDestFlagsDEST_LOCAL,
	Weight:     1,
}

// nowhere is what the kernel lists as such a connection's real server.
func nowhere(client netip.Addr) netip.AddrPort {
	if client.Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
}
