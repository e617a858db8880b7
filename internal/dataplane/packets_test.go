// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// Packets are made here without any of the datapath's own arithmetic.

// ipv4 is an IPv4 packet: a header and what follows it.
func ipv4(src, dst netip.Addr, proto byte, payload []byte) []byte {
	ip := make([]byte, 20, 20+len(payload))
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(ip[4:], 0x1234)
	ip[6] = 0x40 // DF
	ip[8], ip[9] = 64, proto
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, payload...)
}

// tcp is a segment with the flags named by letters: S, A, F, R, P.
func tcp(src, dst netip.AddrPort, flags string, payload ...byte) []byte {
	segment := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(segment[0:], src.Port())
	binary.BigEndian.PutUint16(segment[2:], dst.Port())
	binary.BigEndian.PutUint32(segment[4:], 1000)
	segment[12] = 5 << 4
	for _, letter := range flags {
		segment[13] |= 1 << strings.IndexRune("FSRPA", letter)
	}
	segment[14], segment[15] = 0xff, 0xff
	segment = append(segment, payload...)
	binary.BigEndian.PutUint16(segment[16:], transportChecksum(src.Addr(), dst.Addr(), 6, segment))
	return ipv4(src.Addr(), dst.Addr(), 6, segment)
}

func udp(src, dst netip.AddrPort, payload ...byte) []byte {
	datagram := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(datagram[0:], src.Port())
	binary.BigEndian.PutUint16(datagram[2:], dst.Port())
	binary.BigEndian.PutUint16(datagram[4:], uint16(8+len(payload)))
	datagram = append(datagram, payload...)
	binary.BigEndian.PutUint16(datagram[6:], transportChecksum(src.Addr(), dst.Addr(), 17, datagram))
	return ipv4(src.Addr(), dst.Addr(), 17, datagram)
}

// icmpError is an ICMP error about the quoted packet.
func icmpError(src, dst netip.Addr, kind, code byte, mtu uint16, quoted []byte) []byte {
	message := append([]byte{kind, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	return ipv4(src, dst, 1, message)
}

// checksum is the Internet checksum (RFC 1071) of bytes whose own field is 0,
// and 0 if the field is right.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, part := range parts {
		for i, b := range part {
			sum += uint32(b) << (8 * (1 - i%2))
			sum = sum&0xffff + sum>>16
		}
	}
	return ^uint16(sum)
}

func transportChecksum(src, dst netip.Addr, proto byte, segment []byte) uint16 {
	pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, proto, byte(len(segment) >> 8), byte(len(segment))})
	if sum := checksum(pseudo, segment); sum != 0 || proto != 17 {
		return sum
	}
	return 0xffff
}

// endpoints reads a packet's addresses and ports.
func endpoints(ip []byte) (src, dst netip.AddrPort) {
	l4 := ip[int(ip[0]&15)*4:]
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(l4)),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(l4[2:]))
}

// broken says which checksum of a packet is wrong, if any is.
func broken(ip []byte) string {
	header := int(ip[0]&15) * 4
	if checksum(ip[:header]) != 0 {
		return "IP checksum"
	}
	l4, at := ip[header:], map[byte]int{6: 16, 17: 6, 1: 2}[ip[9]]
	switch {
	case ip[9] == 4:
		return broken(l4)
	case at == 0:
		return ""
	case ip[9] == 1:
		if checksum(l4) != 0 {
			return "ICMP checksum"
		}
		return ""
	}
	pseudo := slices.Concat(ip[12:20], []byte{0, ip[9], byte(len(l4) >> 8), byte(len(l4))})
	if checksum(pseudo, l4) != 0 {
		return "transport checksum"
	}
	return ""
}

// The clients and addresses of most tests.
var (
	client   = netip.MustParseAddrPort("172.16.0.5:40000")
	vip      = netip.MustParseAddrPort("10.0.0.80:80")
	server11 = netip.MustParseAddrPort("192.168.1.11:80")
)

// clientNumber is one of many clients.
func clientNumber(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16 + byte(n>>22&15), byte(n >> 14), byte(n >> 6)}), uint16(1024+n&63))
}

func addrPort(a, b, c, d byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, c, d}), port)
}
