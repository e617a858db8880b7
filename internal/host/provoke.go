// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Provoke makes a TCP endpoint say where in its connection it is: it sends a
// segment as if from the other end whose sequence number is all but certainly
// none that is expected, which is answered with an ACK (RFC 9293 section
// 3.10.7.4). It carries a byte, since Linux answers empty ones twice a second at
// most (tcp_invalid_ratelimit). From need not be an address of this host.
func Provoke(from, to netip.AddrPort) error {
	packet := provocation(from, to)
	domain, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL
	if to.Addr().Is6() {
		domain, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL
	}
	socket, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, level, option, 1); err != nil {
		return fmt.Errorf("send whole packets: %w", err)
	}
	var address unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		address = &unix.SockaddrInet4{Addr: to.Addr().As4()}
	}
	if err := unix.Sendto(socket, packet, unix.MSG_DONTWAIT, address); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	return nil
}

const (
	tcpHeader = 20
	ackFlag   = 0x10
)

// provocation is the segment, in a packet of its family.
func provocation(from, to netip.AddrPort) []byte {
	segment := make([]byte, tcpHeader+1)
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	binary.BigEndian.PutUint32(segment[4:], rand.Uint32())
	binary.BigEndian.PutUint32(segment[8:], rand.Uint32())
	segment[12], segment[13] = tcpHeader/4<<4, ackFlag
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, byte(len(segment)))
	binary.BigEndian.PutUint16(segment[16:], checksum(append(pseudo, segment...)))
	return append(ipHeader(from.Addr(), to.Addr(), len(segment)), segment...)
}

// ipHeader is one of a TCP segment. The kernel fills in what IPv4 has more.
func ipHeader(from, to netip.Addr, size int) []byte {
	if to.Is6() {
		header := []byte{0x60, 0, 0, 0, 0, byte(size), unix.IPPROTO_TCP, 64}
		return append(append(header, from.AsSlice()...), to.AsSlice()...)
	}
	header := []byte{0x45, 0, 0, byte(20 + size), 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0}
	return append(append(header, from.AsSlice()...), to.AsSlice()...)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i, octet := range b {
		sum += uint32(octet) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
