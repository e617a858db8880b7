// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// Lengths of headers in bytes; GRE's with its checksum.
const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
	greHeader  = 8
	gueHeader  = 8 + 4
)

// segment returns the largest TCP segment that clients may send to the VIP, so
// that it fits through the tunnel in one packet; 0: no need to say so.
//
//	arrival MTU = outer IP + GRE, or UDP and GUE + inner IP + TCP + segment
func (w Want) segment(f Facts) int {
	room := f.ArrivalMTU - w.overhead()
	switch {
	case w.Method != TUN || !f.CanClamp || w.MSS < 0:
		return 0
	case w.MSS > 0:
		return w.MSS
	case f.DepartureMTU <= room:
		return 0 // what the machine tells by itself is small enough
	}
	return room - ipHeader(w.VIP) - tcpHeader
}

// overhead returns the length of a tunnel's headers, the longest of those that
// the want's packets may come in.
func (w Want) overhead() int {
	outer, between := ipv4Header, 0
	if slices.ContainsFunc(w.Directors, netip.Addr.Is6) {
		outer = ipv6Header
	}
	for _, tunnel := range w.tunnels() {
		between = max(between, headerOf(tunnel))
	}
	return outer + between
}

func headerOf(t decap.Tunnel) int {
	switch t.Type {
	case ipvs.GRE:
		return greHeader
	case ipvs.GUE:
		return gueHeader
	}
	return 0
}

func ipHeader(a netip.Addr) int {
	if a.Is6() {
		return ipv6Header
	}
	return ipv4Header
}

// clampSegments tells clients to leave room for the tunnel's headers.
func clampSegments(w Want, f Facts) []Step {
	size := w.segment(f)
	if size == 0 {
		return nil
	}
	steps := []Step{
		{Kind: AddMember, Set: decap.VIPs, Address: w.VIP},
		{Kind: Clamp, Address: w.VIP, Value: size},
	}
	for _, link := range f.Departures {
		steps = append(steps, Step{Kind: AttachClamp, Link: link})
	}
	return steps
}
