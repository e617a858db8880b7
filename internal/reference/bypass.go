// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// bypass is the method of connections that no real server takes
// (IP_VS_CONN_F_BYPASS).
const bypass ipvs.Forwarding = 4

// newNowhere makes what such connections have for a destination: it is of no
// service, and what it counts nobody sees.
func newNowhere() *dest {
	return &dest{Destination: ipvs.Destination{Forwarding: bypass, Weight: 1}, service: &service{}, available: true}
}

// leave is what becomes of a packet that gets no server (ip_vs_leave). A mark's
// packets may go on to where they were sent, if that is elsewhere; what an ICMP
// error quotes is none.
func (d *Director) leave(s *service, f flow, p *packet) (choice, Verdict) {
	switch {
	case p.proto == f.proto && d.Settings.CacheBypass && s.Mark != 0 && d.isForwarded(f):
		return choice{dest: d.nowhere, onePacket: s.isOnePacket(f)}, ""
	case s.VIP.Port() == ftpPort && f.virtual.Port() != ftpPort:
		return choice{}, NotOurs // no data of FTP's
	}
	return choice{}, NoDestination
}

// isForwarded tells whether the machine sends a packet on to where it was sent.
// Routers take none from IPv6's link-local addresses (RFC 4291, section 2.5.6), and
// nobody from loopback addresses.
func (d *Director) isForwarded(f flow) bool {
	client := f.client.Addr()
	return d.Forwards(f.virtual.Addr()) && !client.IsLoopback() && !(client.Is6() && client.IsLinkLocalUnicast())
}

// nowhere is the server that such a connection is listed with.
func nowhere(client netip.Addr) netip.AddrPort {
	if client.Is6() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}
