// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net/netip"
)

// CheckVIP refuses what cannot be a virtual service's address.
func CheckVIP(vip netip.Addr) error {
	switch {
	case vip.Zone() != "" || vip.Is4In6():
		return fmt.Errorf("VIP %s: neither a plain IPv4 nor a plain IPv6 address", vip)
	case vip.IsLoopback(), vip.IsMulticast(), vip.IsUnspecified(), vip.IsLinkLocalUnicast() && vip.Is6():
		return fmt.Errorf("VIP %s: not an address that clients can connect to", vip)
	case vip.Is4() && (vip.As4()[0] == 0 || vip.As4()[0] >= 240):
		return fmt.Errorf("VIP %s: not an address that clients can connect to", vip)
	}
	return nil
}

// AddVIP gives a director's link a VIP, with a prefix of all bits so that no
// route comes with it, and announces it. An address that is there already is
// announced again.
func AddVIP(link string, vip netip.Addr) error {
	l, err := linkForVIP(link, vip)
	if err != nil {
		return err
	}
	address := netip.PrefixFrom(vip, vip.BitLen())
	added, err := AddServiceAddress(link, address)
	if err != nil || !l.ARP {
		return err
	}
	if err := AnnounceAddress(link, vip); err != nil {
		if added {
			_, undo := DeleteAddress(link, address)
			return errors.Join(err, undo)
		}
		return err
	}
	return nil
}

// DeleteVIP takes a VIP from a link. If it is not there, nothing happens.
func DeleteVIP(link string, vip netip.Addr) error {
	if err := CheckVIP(vip); err != nil {
		return err
	}
	_, err := DeleteAddress(link, netip.PrefixFrom(vip, vip.BitLen()))
	return err
}

// linkForVIP refuses a link on which the VIP would be of no use.
func linkForVIP(link string, vip netip.Addr) (Link, error) {
	if err := CheckVIP(vip); err != nil {
		return Link{}, err
	}
	l, err := LinkByName(link)
	if err != nil {
		return Link{}, err
	}
	if l.Loopback {
		return Link{}, fmt.Errorf("add VIP %s to %s: no neighbour asks there; name the interface by which clients come in", vip, link)
	}
	if !l.Up {
		return Link{}, fmt.Errorf("add VIP %s to %s: the interface is down; `ip link set %s up` first", vip, link, link)
	}
	return l, checkFree(link, vip)
}

// checkFree refuses an address that the machine has in another place or role.
func checkFree(link string, vip netip.Addr) error {
	links, err := Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		addresses, err := Addresses(l.Name)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if a.Addr() == vip && (l.Name != link || !a.IsSingleIP()) {
				return fmt.Errorf("add VIP %s to %s: %s is on %s already; to move it, `ip address del %s dev %s` first", vip, link, a, l.Name, a, l.Name)
			}
		}
	}
	return nil
}
