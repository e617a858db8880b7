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

// tellAddresses tells the datapath where tunnels of fronts may lead.
func (d *Director) tellAddresses() {
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
