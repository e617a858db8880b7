// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
)

// CheckFronts tells whether addresses can be those of directors in front of this
// one, and the UDP port that of their GUE tunnels.
func CheckFronts(fronts []netip.Addr, guePort uint16) error {
	for i, a := range fronts {
		switch {
		case a.Zone() != "":
			return fmt.Errorf("front %s: an address with a zone; fronts have one that is known everywhere", a)
		case a.Is4In6():
			return fmt.Errorf("front %s: write it as %s", a, a.Unmap())
		case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("front %s: no address that another machine sends tunnels from", a)
		case slices.Contains(fronts[:i], a):
			return fmt.Errorf("front %s: given twice", a)
		}
	}
	if len(fronts) > 0 && guePort == 0 {
		return fmt.Errorf("UDP port 0 of GUE: not between 1 and 65535")
	}
	return nil
}

// replace puts the new programs in the place of adopted ones. A program that knows
// of no fronts must not be told of any.
func (d *Director) replace() error {
	tell := func() error { return d.plane.SetFronts(d.options.Fronts, d.options.GUEPort) }
	if len(d.options.Fronts) == 0 {
		if err := tell(); err != nil {
			return err
		}
	}
	if err := host.InHostMounts(d.plane.Replace); err != nil {
		return err
	}
	return tell()
}

// tellFronts tells the datapath where tunnels of fronts may lead, and what they hold.
func (d *Director) tellFronts() {
	if len(d.options.Fronts) == 0 {
		return
	}
	var own []netip.Addr
	for _, n := range d.ways.nets {
		if !n.Addr().IsLoopback() {
			own = append(own, n.Addr())
		}
	}
	if err := d.plane.SetDIPs(own); err != nil {
		d.options.Log.Error("tell datapath of addresses", "error", err)
	}
	room := d.roomInTunnels()
	d.plane.SetFrontSegments(segment(room, netip.IPv4Unspecified()), segment(room, netip.IPv6Unspecified()))
}

const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
	// tunnelHeader is the longest between outer and inner IP header: UDP, GUE, and
	// its option for a checksum that the receiver finishes.
	tunnelHeader = 8 + 4 + 8
)

// roomInTunnels returns how large a packet may be that any front can send here in
// any tunnel; 0 if it is not known.
//
//	MTU of the way to the front = outer IP + GRE, or UDP and GUE + packet
func (d *Director) roomInTunnels() (room int) {
	for _, front := range d.options.Fronts {
		path, err := d.ways.routing.PathTo(front)
		i := slices.IndexFunc(d.ways.links, func(l host.Link) bool { return l.Index == path.Link })
		if err != nil || i < 0 {
			continue
		}
		if its := d.ways.links[i].MTU - ipHeader(front) - tunnelHeader; room == 0 || its < room {
			room = its
		}
	}
	return room
}

func ipHeader(a netip.Addr) int {
	if a.Is6() {
		return ipv6Header
	}
	return ipv4Header
}

// segment returns the largest TCP segment of an address's family that a packet of
// so many bytes holds; 0 if that is not known.
func segment(packet int, family netip.Addr) uint16 {
	return uint16(min(max(packet-ipHeader(family)-tcpHeader, 0), 0xffff))
}

// frontProblems names fronts that are this machine.
func (d *Director) frontProblems() []string {
	var problems []string
	for _, n := range d.ways.nets {
		if slices.Contains(d.options.Fronts, n.Addr()) {
			problems = append(problems, fmt.Sprintf("front %s is this director itself; --front wants the address that the director in front sends tunnels from", n.Addr()))
		}
	}
	return problems
}
