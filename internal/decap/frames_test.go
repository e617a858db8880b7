// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Packets written by hand from the RFCs, of both families, in every tunnel.

var (
	director6 = netip.MustParseAddr("2001:db8:1::1")
	rip6      = netip.MustParseAddr("2001:db8:1::2")
	vip6      = netip.MustParseAddr("2001:db8::80")
	client6   = netip.MustParseAddr("2001:db8:c::5")
)

const (
	frameHeader = 14
	guePort     = 6080
)

// wrapping is one way to put a packet into a tunnel.
type wrapping struct {
	name   string
	tunnel ipvs.TunnelType
	header func(inner []byte) []byte // between the IP headers, checksum 0
	sum    int                       // where in header the checksum stands, if it has one; else -1
}

var wrappings = []wrapping{
	{"ipip", ipvs.IPIP, func([]byte) []byte { return nil }, -1},
	{"gre", ipvs.GRE, func(inner []byte) []byte { return be16(0, etherType(inner)) }, -1},
	{"gre with checksum", ipvs.GRE, func(inner []byte) []byte { return be16(0x8000, etherType(inner), 0, 0) }, 4},
	{"gue", ipvs.GUE, func(inner []byte) []byte { return gue(inner, be16(uint16(protocol(inner)), 0)) }, -1},
	{"gue with checksum", ipvs.GUE, func(inner []byte) []byte { return gue(inner, be16(uint16(protocol(inner)), 0)) }, 6},
	{"gue of variant 1", ipvs.GUE, func(inner []byte) []byte { return gue(inner, nil) }, -1},
}

func isIPv6(packet []byte) bool { return packet[0]>>4 == 6 }

func etherType(packet []byte) uint16 {
	if isIPv6(packet) {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

// protocol returns an IP packet's number in an outer header.
func protocol(packet []byte) byte {
	if isIPv6(packet) {
		return unix.IPPROTO_IPV6
	}
	return unix.IPPROTO_IPIP
}

func be16(words ...uint16) []byte {
	var out []byte
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}

// gue returns UDP's header and the given one.
func gue(inner, header []byte) []byte {
	return append(be16(40000, guePort, uint16(8+len(header)+len(inner)), 0), header...)
}

// wrap puts the inner packet into a tunnel.
func (w wrapping) wrap(from, to netip.Addr, inner []byte) []byte {
	content := slices.Concat(w.header(inner), inner)
	number := map[ipvs.TunnelType]byte{ipvs.IPIP: protocol(inner), ipvs.GRE: unix.IPPROTO_GRE, ipvs.GUE: unix.IPPROTO_UDP}[w.tunnel]
	if w.sum >= 0 {
		var pseudo []byte
		if w.tunnel == ipvs.GUE {
			pseudo = pseudoHeader(from, to, number, len(content))
		}
		binary.BigEndian.PutUint16(content[w.sum:], ^sum(pseudo, content))
	}
	return ip(from, to, number, content)
}

func pseudoHeader(from, to netip.Addr, protocol byte, length int) []byte {
	return slices.Concat(from.AsSlice(), to.AsSlice(), be16(uint16(length), uint16(protocol)))
}

// ip returns a packet with TTL 63.
func ip(from, to netip.Addr, protocol byte, content []byte) []byte {
	if from.Is6() {
		header := append(be16(0x6000, 0, uint16(len(content))), protocol, 63)
		return slices.Concat(header, from.AsSlice(), to.AsSlice(), content)
	}
	header := append(be16(0x4500, uint16(20+len(content)), 0, 0x4000), 63, protocol, 0, 0)
	header = slices.Concat(header, from.AsSlice(), to.AsSlice())
	setHeaderSum(header)
	return append(header, content...)
}

func setHeaderSum(packet []byte) {
	if !isIPv6(packet) {
		packet[10], packet[11] = 0, 0
		binary.BigEndian.PutUint16(packet[10:], ^sum(packet[:20]))
	}
}

// datagram returns a UDP packet with a right checksum.
func datagram(from, to netip.Addr, text string) []byte {
	udp := append(be16(4242, 80, uint16(8+len(text)), 0), text...)
	binary.BigEndian.PutUint16(udp[6:], ^sum(pseudoHeader(from, to, unix.IPPROTO_UDP, len(udp)), udp))
	return ip(from, to, unix.IPPROTO_UDP, udp)
}

// sum is the Internet checksum's sum (RFC 1071).
func sum(parts ...[]byte) uint16 {
	var sum uint32
	for _, part := range parts {
		for i, b := range part {
			sum += uint32(b) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// frame puts an Ethernet header in front.
func frame(packet []byte) []byte {
	return slices.Concat([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, be16(etherType(packet)), packet)
}

// ends are a tunnel's and those of the packet in it.
type ends struct{ from, to, client, vip netip.Addr }

// mixtures are all families of outer and inner packets.
var mixtures = map[string]ends{
	"4in4": {director, rip, client, vip},
	"6in4": {director, rip, client6, vip6},
	"4in6": {director6, rip6, client, vip},
	"6in6": {director6, rip6, client6, vip6},
}
