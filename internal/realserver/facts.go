// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

// gatherFacts looks at the machine with the eyes of one want.
func gatherFacts(w Want) (Facts, error) {
	links, err := host.Links()
	if err != nil {
		return Facts{}, err
	}
	var f Facts
	f.Tunnel = slices.ContainsFunc(links, func(l host.Link) bool { return l.Name == tunnelLink })
	if f.ARPLinks, err = arpLinks(links, w.Interface); err != nil {
		return Facts{}, err
	}
	if f.Arrivals, err = arrivals(w, f.ARPLinks); err != nil {
		return Facts{}, err
	}
	if f.Astray, err = astray(f.Arrivals); err != nil {
		return Facts{}, err
	}
	f.Departures = departures(links)
	f.CanClamp = decap.CanClamp()
	if f.ArrivalMTU, f.DepartureMTU, err = mtus(links, f); err != nil {
		return Facts{}, err
	}
	f.RIPs, err = ownAddresses(links)
	f.RIPs = slices.DeleteFunc(f.RIPs, func(a netip.Addr) bool { return a == w.VIP })
	return f, err
}

// arpLinks returns the links on which neighbours may ask for the VIP: the one
// given or, as a machine answers on each for the addresses of all, every one.
// A port of a bridge or a bond does not answer itself.
func arpLinks(links []host.Link, only string) ([]string, error) {
	if only != "" {
		link, err := host.LinkByName(only)
		if err != nil {
			return nil, err
		}
		if link.Loopback {
			return nil, fmt.Errorf("interface %s: no packet of a director comes in there", only)
		}
		links = []host.Link{link}
	}
	var names []string
	for _, l := range links {
		if l.ARP && l.Ethernet && l.Master == 0 {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

// arrivals returns the links by which the directors' packets come in: those
// that lead to the directors.
func arrivals(w Want, arpLinks []string) ([]string, error) {
	if w.Interface != "" {
		return []string{w.Interface}, nil
	}
	if len(w.Directors) == 0 {
		return arpLinks, nil
	}
	var names []string
	for _, director := range w.Directors {
		path, err := host.PathTo(director)
		if err != nil {
			return nil, err
		}
		if path.Local {
			return nil, fmt.Errorf("director %s: that is this machine's own address", director)
		}
		link, err := host.LinkByIndex(path.Link)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, link.Name) {
			names = append(names, link.Name)
		}
	}
	return names, nil
}

// departures returns the links by which replies to clients may leave.
func departures(links []host.Link) []string {
	var names []string
	for _, l := range links {
		if l.Ethernet && !l.Loopback && l.Master == 0 {
			names = append(names, l.Name)
		}
	}
	return names
}

// mtus returns the smallest MTU by which packets from directors come in and
// the largest by which replies leave.
func mtus(links []host.Link, f Facts) (arrival, departure int, err error) {
	for _, name := range f.Arrivals {
		link, err := host.LinkByName(name)
		if err != nil {
			return 0, 0, err
		}
		if arrival == 0 || link.MTU < arrival {
			arrival = link.MTU
		}
	}
	for _, l := range links {
		if slices.Contains(f.Departures, l.Name) {
			departure = max(departure, l.MTU)
		}
	}
	return arrival, departure, nil
}

// astray returns those of the links by which replies to clients may not leave.
// Clients can be anywhere, so it is sure only where the default route and all
// other routes lead out by that very link.
func astray(links []string) ([]string, error) {
	defaults, err := host.DefaultRoutes(netip.IPv4Unspecified())
	if err != nil {
		return nil, err
	}
	routes, err := host.Routes()
	if err != nil {
		return nil, err
	}
	loopback, err := host.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range links {
		link, err := host.LinkByName(name)
		if err != nil {
			return nil, err
		}
		// Many put a host route to the VIP on lo:0, which leads to no client.
		elsewhere := func(p host.Path) bool { return p.Link != link.Index && p.Link != loopback.Index }
		if len(defaults) == 0 || slices.ContainsFunc(routes, elsewhere) {
			names = append(names, name)
		}
	}
	return names, nil
}

// ownAddresses returns the addresses to which a director may send tunnels.
func ownAddresses(links []host.Link) ([]netip.Addr, error) {
	var own []netip.Addr
	for _, l := range links {
		if l.Loopback {
			continue
		}
		addresses, err := host.Addresses(l.Name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if !a.Addr().IsLinkLocalUnicast() {
				own = append(own, a.Addr())
			}
		}
	}
	return own, nil
}

// check refuses a want that cannot be served.
func (w Want) check(f Facts) error {
	if err := host.CheckVIP(w.VIP); err != nil {
		return err
	}
	if w.Method != TUN || f.Tunnel && w.isKernels() {
		return nil
	}
	if len(w.Directors) == 0 {
		return errors.New("the kernel has no tunnel for them (tunl0), and the decapsulator accepts tunnels from given directors only: add --director ADDRESS")
	}
	for _, name := range f.Arrivals {
		link, err := host.LinkByName(name)
		if err != nil {
			return err
		}
		if !link.Ethernet {
			return fmt.Errorf("interface %s: the decapsulator needs an Ethernet interface; name the one by which tunnels come in with --interface", name)
		}
	}
	return nil
}
