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
	d.startFrame(to, p.ip)
	d.out = append(d.out, p.ip...)
	return d.out[ethernetHeader:]
}

// copyUp makes the frame that the director's own stack gets of the one that came.
func (d *Director) copyUp(p *packet) []byte {
	if p.own {
		return d.copyOf(p, p.from())
	}
	ip, from := d.copyOf(p, d.MAC), p.from()
	copy(d.out[6:], from[:])
	return ip
}

// startFrame writes the Ethernet header of a frame for a packet of ip's family.
// Neither end of lo has an address.
func (d *Director) startFrame(to MAC, ip []byte) {
	from := d.MAC
	if to == (MAC{}) {
		from = to
	}
	d.out = append(d.out[:0], to[:]...)
	d.out = append(d.out, from[:]...)
	d.out = binary.BigEndian.AppendUint16(d.out, typeOf(is6(ip)))
}

func typeOf(ipv6 bool) uint16 {
	if ipv6 {
		return typeIPv6
	}
	return typeIPv4
}

// lowerTTL takes one hop off.
func lowerTTL(ip []byte) {
	if is6(ip) {
		ip[7]--
		return
	}
	replace(ip[8:10], []byte{ip[8] - 1, ip[9]}, ip[10:12])
}

// end is one of a packet's two: where its address stands in IPv4's and IPv6's
// header and its port in the transport's.
type end struct{ ipv4, ipv6, port int }

var (
	source      = end{12, 8, 0}
	destination = end{16, 24, 2}
)

func (e end) address(ip []byte) []byte {
	if is6(ip) {
		return ip[e.ipv6 : e.ipv6+16]
	}
	return ip[e.ipv4 : e.ipv4+4]
}

// setAddress writes an address; IPv4's own checksum follows.
func (e end) setAddress(ip []byte, to netip.Addr) {
	if is6(ip) {
		copy(e.address(ip), to.AsSlice())
		return
	}
	replace(e.address(ip), to.AsSlice(), ip[10:12])
}

// setEndpoint writes address and port of a packet's one end and has its
// checksums follow. A datagram without checksum gets one.
func (p *packet) setEndpoint(ip []byte, e end, to netip.AddrPort) {
	l4, proto := ip[p.header:], p.proto
	old := slices.Clone(e.address(ip))
	port := binary.BigEndian.AppendUint16(nil, to.Port())
	e.setAddress(ip, to.Addr())
	if proto == ipvs.SCTP {
		setSCTPPort(l4, port, e.port, isFragment(ip) || p.behind && isZero(l4[8:12]))
		return
	}
	check := transportChecksum(proto, l4)
	if proto == ipvs.UDP && check[0] == 0 && check[1] == 0 {
		copy(l4[e.port:], port)
		if isFragment(ip) { // the rest of what it would be over is elsewhere
			return
		}
		setUDPChecksum(ip, l4)
		return
	}
	update(check, old, to.Addr().AsSlice())
	replace(l4[e.port:e.port+2], port, check)
	if proto == ipvs.UDP {
		avoidZero(l4)
	}
}
