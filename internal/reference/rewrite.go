// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// copyOf makes the frame that leaves of the one that came, without what followed
// the packet, and returns its IP packet.
func (d *Director) copyOf(p *packet, to MAC) []byte {
	d.out = append(d.out[:0], to[:]...)
	d.out = append(d.out, d.MAC[:]...)
	d.out = append(d.out, 0x08, 0x00)
	d.out = append(d.out, p.ip...)
	return d.out[ethernetHeader:]
}

// lowerTTL takes one hop off.
func lowerTTL(ip []byte) {
	replace(ip[8:10], []byte{ip[8] - 1, ip[9]}, ip[10:12])
}

// end is one of a packet's two: where its address and port stand.
type end struct{ address, port int }

var (
	source      = end{12, 0}
	destination = end{16, 2}
)

// setEndpoint writes address and port of a packet's one end and has its
// checksums follow. A datagram without checksum gets one.
func setEndpoint(ip []byte, header int, proto ipvs.Protocol, e end, to netip.AddrPort) {
	l4 := ip[header:]
	check := transportChecksum(proto, l4)
	old := slices.Clone(ip[e.address : e.address+4])
	port := binary.BigEndian.AppendUint16(nil, to.Port())
	replace(ip[e.address:e.address+4], to.Addr().AsSlice(), ip[10:12])
	if proto == ipvs.UDP && check[0] == 0 && check[1] == 0 {
		copy(l4[e.port:], port)
		setUDPChecksum(address(ip[12:]), address(ip[16:]), l4)
		return
	}
	update(check, old, to.Addr().AsSlice())
	replace(l4[e.port:e.port+2], port, check)
	if proto == ipvs.UDP {
		avoidZero(l4)
	}
}

// wrap puts an IPv4 header in front of the packet that leaves (RFC 2003;
// ip_vs_tunnel_xmit).
func (d *Director) wrap(from, to netip.Addr) {
	d.out = slices.Insert(d.out, ethernetHeader, make([]byte, 20)...)
	outer, inner := d.out[ethernetHeader:][:20], d.out[ethernetHeader+20:]
	tos := inner[1]
	if tos&3 == 3 { // congestion experienced: the outer is ECT(0) again
		tos = tos&^3 | 2
	}
	outer[0], outer[1] = 0x45, tos
	binary.BigEndian.PutUint16(outer[2:], uint16(20+len(inner)))
	outer[6] = inner[6] & 0x40 // DF
	outer[8], outer[9] = inner[8], byte(protoIPIP)
	copy(outer[12:], from.AsSlice())
	copy(outer[16:], to.AsSlice())
	setChecksum(outer, 10)
}

// ICMP's types and codes (RFC 792).
const (
	unreachable         = 3
	sourceQuench        = 4
	timeExceeded        = 11
	hostUnreachable     = 1
	portUnreachable     = 3
	fragmentationNeeded = 4
)

// answer sends an ICMP error to who sent the packet, from where it was sent to
// (icmp_send).
func (d *Director) answer(p *packet, v Verdict, kind, code byte, mtu int) Outcome {
	d.icmp(p.ip, p.from(), kind, code, mtu)
	return Outcome{Verdict: v, Frame: d.out, NewHeader: true}
}

// icmpRoom is what an error may quote: it is of 576 bytes at most.
const icmpRoom = 576 - 20 - 8

// icmp makes the frame of an error about a packet.
func (d *Director) icmp(about []byte, to MAC, kind, code byte, mtu int) {
	quote := about[:min(len(about), icmpRoom)]
	d.out = append(d.out[:0], to[:]...)
	d.out = append(d.out, d.MAC[:]...)
	d.out = append(d.out, 0x08, 0x00)
	d.out = append(d.out, 0x45, about[1]&0x1e|0xc0, 0, 0, 0, 0, 0, 0, 64, byte(protoICMP), 0, 0)
	d.out = append(d.out, about[16:20]...)
	d.out = append(d.out, about[12:16]...)
	d.out = append(d.out, kind, code, 0, 0, 0, 0, byte(mtu>>8), byte(mtu))
	d.out = append(d.out, quote...)
	ip := d.out[ethernetHeader:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	setChecksum(ip[:20], 10)
	setChecksum(ip[20:], 2)
}
