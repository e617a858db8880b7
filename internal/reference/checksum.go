// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// sum adds up 16-bit words with end-around carry (RFC 1071); an odd byte is the
// upper half of a word.
func sum(from uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		from += uint32(binary.BigEndian.Uint16(b))
		from = from&0xffff + from>>16
	}
	if len(b) == 1 {
		from += uint32(b[0]) << 8
		from = from&0xffff + from>>16
	}
	return from
}

// setChecksum computes the checksum of b, which is at b[at:].
func setChecksum(b []byte, at int) {
	b[at], b[at+1] = 0, 0
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum(0, b)))
}

// replace overwrites the even number of bytes at to, and updates the checksum at
// check for it (RFC 1624, equation 3). A checksum that was wrong stays wrong.
func replace(to, with, check []byte) {
	s := uint32(^binary.BigEndian.Uint16(check))
	for i := 0; i < len(to); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(to[i:])) + uint32(binary.BigEndian.Uint16(with[i:]))
		s = s&0xffff + s>>16
	}
	copy(to, with)
	binary.BigEndian.PutUint16(check, ^uint16(s&0xffff+s>>16))
}

// update is replace for bytes that stand elsewhere.
func update(check, from, to []byte) {
	replace(slices.Clone(from), to, check)
}

// transportChecksum is where it stands in the segment or datagram.
func transportChecksum(proto ipvs.Protocol, l4 []byte) []byte {
	if proto == ipvs.UDP {
		return l4[6:8]
	}
	return l4[16:18]
}

// pseudo sums up what TCP, UDP and ICMPv6 add to their own bytes (RFC 9293,
// RFC 768, RFC 8200, section 8.1).
func pseudo(ip []byte, proto ipvs.Protocol, length int) uint32 {
	s := sum(0, source.address(ip))
	s = sum(s, destination.address(ip)) + uint32(proto) + uint32(length)
	return s&0xffff + s>>16
}

func setUDPChecksum(ip, l4 []byte) {
	l4[6], l4[7] = 0, 0
	binary.BigEndian.PutUint16(l4[6:], ^uint16(sum(pseudo(ip, ipvs.UDP, len(l4)), l4)))
	avoidZero(l4)
}

// setICMPChecksum computes it for either family.
func setICMPChecksum(ip, icmp []byte) {
	icmp[2], icmp[3] = 0, 0
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sumICMP(ip, icmp)))
}

// isIntact tells whether an ICMP message's checksum is right.
func isIntact(ip, icmp []byte) bool {
	return sumICMP(ip, icmp) == 0xffff
}

func sumICMP(ip, icmp []byte) uint32 {
	if is6(ip) {
		return sum(pseudo(ip, protoICMPv6, len(icmp)), icmp)
	}
	return sum(0, icmp)
}

// avoidZero is for UDP, where a checksum of 0 means none.
func avoidZero(l4 []byte) {
	if l4[6] == 0 && l4[7] == 0 {
		l4[6], l4[7] = 0xff, 0xff
	}
}

func isZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(b byte) bool { return b != 0 })
}
