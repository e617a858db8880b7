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
	return (&Routing{handle: &netlink.Handle{}}).PathTo(address)
}

// Routing asks many questions about ways in the network namespace where it was
// opened, without a new socket for each.
type Routing struct {
	handle *netlink.Handle
}

// OpenRouting opens a socket.
func OpenRouting() (*Routing, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open routing: %w", err)
	}
	return &Routing{handle}, nil
}

// Close closes the socket.
func (r *Routing) Close() {
	r.handle.Close()
}

// PathTo is the function PathTo.
func (r *Routing) PathTo(address netip.Addr) (Path, error) {
	routes, err := r.handle.RouteGet(address.AsSlice())
	if err != nil {
		return Path{}, fmt.Errorf("find route to %s: %w", address, err)
	}
	if len(routes) == 0 {
		return Path{}, fmt.Errorf("find route to %s: %w", address, unix.ENETUNREACH)
	}
	path := toPath(routes[0].LinkIndex, routes[0].Gw, routes[0].Src)
	path.Local = routes[0].Type == unix.RTN_LOCAL
	return path, nil
}

// DefaultRoutes returns the ways that packets of an address's family go which
// no other route of the main table takes. There is none, one or, with several paths or metrics,
// more.
func DefaultRoutes(like netip.Addr) ([]Path, error) {
	return mainRoutes(familyOf(like), func(r netlink.Route) bool { return r.Dst == nil || r.Dst.IP.IsUnspecified() && isZero(r.Dst.Mask) })
}

// Routes returns the ways of all IPv4 unicast routes of the main table.
func Routes() ([]Path, error) {
	return mainRoutes(netlink.FAMILY_V4, func(netlink.Route) bool { return true })
}

func mainRoutes(family int, wanted func(netlink.Route) bool) ([]Path, error) {
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var paths []Path
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST || !wanted(r) {
			continue
		}
		paths = append(paths, pathsOf(r)...)
	}
	return paths, nil
}

func pathsOf(r netlink.Route) []Path {
	if len(r.MultiPath) == 0 {
		return []Path{toPath(r.LinkIndex, r.Gw, r.Src)}
	}
	var paths []Path
	for _, hop := range r.MultiPath {
		paths = append(paths, toPath(hop.LinkIndex, hop.Gw, r.Src))
	}
	return paths
}

func toPath(link int, gateway, source net.IP) Path {
	path := Path{Link: link}
	if gateway, ok := netip.AddrFromSlice(gateway); ok {
		path.Gateway = gateway.Unmap()
	}
	if source, ok := netip.AddrFromSlice(source); ok {
		path.Source = source.Unmap()
	}
	return path
}

func isZero(mask net.IPMask) bool {
	ones, _ := mask.Size()
	return ones == 0
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
