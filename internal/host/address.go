// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses returns the link's addresses, each with the length of its
// network's prefix.
func Addresses(link string) ([]netip.Prefix, error) {
	l, err := linkByName(link)
	if err != nil {
		return nil, err
	}
	return addressesOf(l, link)
}

// AllAddresses returns the addresses of all links.
func AllAddresses() ([]netip.Prefix, error) {
	return addressesOf(nil, "all interfaces")
}

func addressesOf(l netlink.Link, name string) ([]netip.Prefix, error) {
	found, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var addresses []netip.Prefix
	for _, a := range found {
		addresses = append(addresses, toPrefix(a.IPNet))
	}
	return addresses, nil
}

// HasAddress tells whether the link has this address with this prefix length.
func HasAddress(link string, address netip.Prefix) (bool, error) {
	addresses, err := Addresses(link)
	return slices.Contains(addresses, address), err
}

// AddAddress gives the link an address. If the link has it already, added is
// false and nothing changes. An IPv6 address is usable at once, without
// duplicate address detection.
func AddAddress(link string, address netip.Prefix) (added bool, err error) {
	return addAddress(link, address, &netlink.Addr{IPNet: fromPrefix(address)})
}

// AddServiceAddress is AddAddress for one that serves, and from which the
// machine shall not connect to others by itself: an IPv6 address is deprecated
// (RFC 4862, section 5.5.4), an IPv4 one is chosen only where it is the first.
func AddServiceAddress(link string, address netip.Prefix) (added bool, err error) {
	a := &netlink.Addr{IPNet: fromPrefix(address)}
	if address.Addr().Is6() {
		a.ValidLft = math.MaxUint32 // for ever, and preferred for no time
	}
	return addAddress(link, address, a)
}

func addAddress(link string, address netip.Prefix, a *netlink.Addr) (added bool, err error) {
	l, err := linkByName(link)
	if err != nil {
		return false, err
	}
	if address.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	err = netlink.AddrAdd(l, a)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add address %s to %s: %w", address, link, err)
	}
	return true, nil
}

// DeleteAddress takes an address from the link. If the link does not have it,
// removed is false.
func DeleteAddress(link string, address netip.Prefix) (removed bool, err error) {
	l, err := linkByName(link)
	if err != nil {
		return false, err
	}
	err = netlink.AddrDel(l, &netlink.Addr{IPNet: fromPrefix(address)})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete address %s from %s: %w", address, link, err)
	}
	return true, nil
}

func toPrefix(n *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), bits)
}

func fromPrefix(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
