// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// RFC 4861, sections 4.4 and 4.6.1.
const (
	neighbourAdvertisement = 136
	overrideFlag           = 0x20 // what neighbours knew before is no longer so
	targetLinkAddress      = 2
	discoveryHopLimit      = 255
)

// allNodes is ff02::1.
var allNodes = [16]byte{0: 0xff, 1: 0x02, 15: 1}

// advertise sends an unsolicited neighbour advertisement (RFC 4861, section
// 7.2.6). The kernel adds the checksum.
func advertise(l Link, address netip.Addr) error {
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("announce %s: open socket: %w", address, err)
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, discoveryHopLimit); err != nil {
		return fmt.Errorf("announce %s: set hop limit: %w", address, err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet6{Addr: address.As16()}); err != nil {
		return fmt.Errorf("announce %s: send from it: %w", address, err)
	}
	to := &unix.SockaddrInet6{Addr: allNodes, ZoneId: uint32(l.Index)}
	if err := unix.Sendto(socket, advertisement(l.MAC, address), 0, to); err != nil {
		return fmt.Errorf("announce %s on %s: %w", address, l.Name, err)
	}
	return nil
}

func advertisement(mac net.HardwareAddr, address netip.Addr) []byte {
	message := []byte{neighbourAdvertisement, 0, 0, 0, overrideFlag, 0, 0, 0}
	message = append(message, address.AsSlice()...)
	message = append(message, targetLinkAddress, 1)
	return append(message, mac...)
}
