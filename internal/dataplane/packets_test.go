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

// ipv6 is an IPv6 packet: a header and what follows it.
func ipv6(src, dst netip.Addr, next byte, payload []byte) []byte {
	ip := make([]byte, 40, 40+len(payload))
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(payload)))
	ip[6], ip[7] = next, 64
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
	return append(ip, payload...)
}

// ip is a packet of the addresses' family.
func ip(src, dst netip.Addr, proto byte, payload []byte) []byte {
	if src.Is4() {
		return ipv4(src, dst, proto, payload)
	}
	return ipv6(src, dst, proto, payload)
}

// extended puts extension headers in front of what an IPv6 packet carries: of
// the kinds given, 8 bytes each.
func extended(packet []byte, kinds ...byte) []byte {
	src, dst := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	next, payload := packet[6], packet[40:]
	for _, kind := range slices.Backward(kinds) {
		header := []byte{next, 0, 1, 4, 0, 0, 0, 0} // PadN
		if kind == 43 {
			header = []byte{next, 0, 4, 0, 0, 0, 0, 0} // no segments left
		}
		if kind == 44 {
			header = []byte{next, 0, 0, 0, 1, 2, 3, 4}
		}
		next, payload = kind, slices.Concat(header, payload)
	}
	return ipv6(src, dst, next, payload)
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
	return ip(src.Addr(), dst.Addr(), 6, segment)
}

// withSegmentOptions is a TCP segment with options, in whole words.
func withSegmentOptions(packet []byte, options ...byte) []byte {
	src, dst := endpoints(packet)
	segment := slices.Insert(slices.Clone(packet[headerOf(packet):]), 20, options...)
	segment[12] += byte(len(options)/4) << 4
	segment[16], segment[17] = 0, 0
	binary.BigEndian.PutUint16(segment[16:], transportChecksum(src.Addr(), dst.Addr(), 6, segment))
	return ip(src.Addr(), dst.Addr(), 6, segment)
}

func udp(src, dst netip.AddrPort, payload ...byte) []byte {
	datagram := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(datagram[0:], src.Port())
	binary.BigEndian.PutUint16(datagram[2:], dst.Port())
	binary.BigEndian.PutUint16(datagram[4:], uint16(8+len(payload)))
	datagram = append(datagram, payload...)
	binary.BigEndian.PutUint16(datagram[6:], transportChecksum(src.Addr(), dst.Addr(), 17, datagram))
	return ip(src.Addr(), dst.Addr(), 17, datagram)
}

// icmpError is an ICMP or ICMPv6 error about the quoted packet.
func icmpError(src, dst netip.Addr, kind, code byte, mtu uint16, quoted []byte) []byte {
	message := append([]byte{kind, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	if src.Is6() {
		binary.BigEndian.PutUint16(message[2:], transportChecksum(src, dst, 58, message))
		return ipv6(src, dst, 58, message)
	}
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

// transportOf finds what a packet carries, behind any extension headers.
func transportOf(ip []byte) (src, dst netip.Addr, proto byte, l4 []byte) {
	if ip[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[9], ip[int(ip[0]&15)*4:]
	}
	proto, l4 = ip[6], ip[40:]
	for proto == 0 || proto == 43 || proto == 44 || proto == 60 {
		size := 8
		if proto != 44 {
			size += 8 * int(l4[1])
		}
		proto, l4 = l4[0], l4[size:]
	}
	return netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), proto, l4
}

// endpoints reads a packet's addresses and ports.
func endpoints(ip []byte) (src, dst netip.AddrPort) {
	from, to, _, l4 := transportOf(ip)
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(l4)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(l4[2:]))
}

// broken says which checksum of a packet is wrong, if any is.
func broken(ip []byte) string {
	if ip[0]>>4 == 4 && checksum(ip[:int(ip[0]&15)*4]) != 0 {
		return "IP checksum"
	}
	src, dst, proto, l4 := transportOf(ip)
	switch proto {
	case 4, 41:
		return broken(l4)
	case 1:
		if checksum(l4) != 0 {
			return "ICMP checksum"
		}
	case 6, 17, 58:
		pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, proto, byte(len(l4) >> 8), byte(len(l4))})
		if checksum(pseudo, l4) != 0 {
			return "transport checksum"
		}
	case 132:
		if brokenCRC(l4) {
			return "SCTP checksum"
		}
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
