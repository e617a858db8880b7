// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// usableStates are those in which the kernel itself would send to a neighbour's
// known address.
const usableStates = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// Neighbour is what the kernel knows of one of its neighbours on a link.
type Neighbour struct {
	MAC net.HardwareAddr
	// Static is one that somebody configured. The kernel does not ask for it,
	// and who has it asked for all the same makes it one that can be lost
	// (net/core/neighbour.c: __neigh_update(), NEIGH_UPDATE_F_USE).
	Static bool
}

// Neighbours returns those of a link's neighbours of which the kernel knows the
// MAC address.
func (r *Routing) Neighbours(link int) (map[netip.Addr]Neighbour, error) {
	list, err := dump(func() ([]netlink.Neigh, error) { return r.handle.NeighList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	known := make(map[netip.Addr]Neighbour, len(list))
	for _, n := range list {
		address, ok := netip.AddrFromSlice(n.IP)
		if ok && n.State&usableStates != 0 && len(n.HardwareAddr) == 6 {
			known[address.Unmap()] = Neighbour{MAC: n.HardwareAddr, Static: n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0}
		}
	}
	return known, nil
}

func familyOf(address netip.Addr) int {
	if address.Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// AskNeighbour makes the kernel find out a neighbour's MAC address, or confirm
// the one it has if that was not used lately. It does not wait for the answer.
// It is not for a static one.
func (r *Routing) AskNeighbour(link int, address netip.Addr) error {
	neighbour := &netlink.Neigh{
		LinkIndex: link,
		Family:    familyOf(address),
		Flags:     netlink.NTF_USE,
		IP:        address.AsSlice(),
	}
	if err := r.handle.NeighSet(neighbour); err != nil {
		return fmt.Errorf("ask for neighbour %s: %w", address, err)
	}
	return nil
}
