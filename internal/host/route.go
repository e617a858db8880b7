// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is where the kernel sends packets to an address.
type Path struct {
	Link    int        // index of the link that they leave by
	Gateway netip.Addr // invalid: the destination itself is the neighbour
	Source  netip.Addr // the address that the kernel would send from
	Local   bool       // the address is the machine's own
}

// PathTo asks the kernel's routing for the way to an address. It fails with
// unix.ENETUNREACH if there is none.
func PathTo(address netip.Addr) (Path, error) {
	routes, err := netlink.RouteGet(address.AsSlice())
	if err != nil {
		return Path{}, fmt.Errorf("find route to %s: %w", address, err)
	}
	if len(routes) == 0 {
		return Path{}, fmt.Errorf("find route to %s: %w", address, unix.ENETUNREACH)
	}
	r := routes[0]
	path := Path{Link: r.LinkIndex, Local: r.Type == unix.RTN_LOCAL}
	if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
		path.Gateway = gateway.Unmap()
	}
	if source, ok := netip.AddrFromSlice(r.Src); ok {
		path.Source = source.Unmap()
	}
	return path, nil
}

// AddRoute adds or replaces the route to a network. An invalid via means that
// the network is on the link; an empty link means that via tells it.
func AddRoute(network netip.Prefix, via netip.Addr, link string) error {
	route := &netlink.Route{Dst: fromPrefix(network.Masked())}
	if via.IsValid() {
		route.Gw = via.AsSlice()
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	if link != "" {
		l, err := linkByName(link)
		if err != nil {
			return err
		}
		route.LinkIndex = l.Attrs().Index
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to %s: %w", network, err)
	}
	return nil
}

// DeleteRoute removes the route to a network. Deleting what is not there is
// no error.
func DeleteRoute(network netip.Prefix) error {
	err := netlink.RouteDel(&netlink.Route{Dst: fromPrefix(network.Masked())})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route to %s: %w", network, err)
	}
	return nil
}

// AddNeighbour tells the link the MAC address of a neighbour, for good.
func AddNeighbour(link string, address netip.Addr, mac net.HardwareAddr) error {
	l, err := linkByName(link)
	if err != nil {
		return err
	}
	neighbour := &netlink.Neigh{
		LinkIndex:    l.Attrs().Index,
		IP:           address.AsSlice(),
		HardwareAddr: mac,
		State:        netlink.NUD_PERMANENT,
	}
	if err := netlink.NeighSet(neighbour); err != nil {
		return fmt.Errorf("add neighbour %s to %s: %w", address, link, err)
	}
	return nil
}
