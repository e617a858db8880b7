// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/reference"
)

// A pair's front, and the UDP port at which its GUE is expected. The director has the
// VIP of NAT itself, so that its kernel answers who has no connection.
var frontAddress = netip.MustParseAddrPort("172.16.255.2:50000")

const frontPort = 6080

// attachFronts lets both take packets from a front. To the datapath is merged what is
// larger than the interface's own MTU.
func (p *pair) attachFronts() {
	p.t.Helper()
	p.model.Fronts = reference.Fronts{
		Own:      []netip.Addr{directorAddress, directorAddress6, natVIP.Addr(), inIPv6(natVIP).Addr()},
		Port:     frontPort,
		Segments: [2]uint16{1420, 1400},
	}
	p.SetFrontSegments(p.model.Fronts.Segments[0], p.model.Fronts.Segments[1])
	for _, err := range []error{p.haveFronts(true), p.SetDIPs(p.model.Fronts.Own), host.SetMTU("lo", pairMTU)} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// haveFronts says whether there are any. Where there are, no packet takes the short way
// (bpf/plain.h).
func (p *pair) haveFronts(some bool) error {
	p.model.Fronts.From = nil
	if some {
		p.model.Fronts.From = []netip.Addr{frontAddress.Addr(), inIPv6(frontAddress).Addr()}
	}
	return p.SetFronts(p.model.Fronts.From, p.model.Fronts.Port)
}

// byFront makes a class of packets in a front's tunnels.
func byFront(of func(maker) []byte) func(maker) []byte {
	return func(r maker) []byte {
		inner := of(r)[14:]
		outer := maker{r.Rand, r.IntN(2) == 0}
		return frame(clientMAC, outer.wrap(outer.of(frontAddress), outer.ofDirector(), inner))
	}
}

func (r maker) ofDirector() netip.Addr {
	if r.ipv6 {
		return directorAddress6
	}
	return directorAddress
}

// inFrontsTunnel puts the packet of a frame into IPIP of its family.
func inFrontsTunnel(f []byte) []byte {
	r := maker{ipv6: f[14]>>4 == 6}
	return frame(clientMAC, wrapped(r.of(frontAddress).Addr(), r.ofDirector(), f[14:]))
}

// fromAnyone are tunnels that are not all a front's, or not for the director.
func fromAnyone(of func(maker) []byte) func(maker) []byte {
	return func(r maker) []byte {
		inner := of(r)[14:]
		outer := maker{r.Rand, r.IntN(2) == 0}
		from := outer.of(draw(r, frontAddress, frontAddress, netip.AddrPortFrom(router, 50000), tunnelVIP))
		to := draw(r, outer.ofDirector(), outer.ofDirector(), outer.of(natVIP).Addr(), outer.of(routeVIP).Addr())
		return frame(clientMAC, outer.wrap(from, to, inner))
	}
}

// wrap puts an IP packet into a tunnel of any kind that fronts make.
func (r maker) wrap(from netip.AddrPort, to netip.Addr, inner []byte) []byte {
	proto, ethertype := byte(4), []byte{0x08, 0x00}
	if inner[0]>>4 == 6 {
		proto, ethertype = 41, []byte{0x86, 0xdd}
	}
	gue := func(parts ...[]byte) []byte {
		datagram := udp(from, netip.AddrPortFrom(to, frontPort), slices.Concat(parts...)...)
		switch r.IntN(4) {
		case 0, 1: // no checksum
			clear(datagram[r.wider()+26 : r.wider()+28])
		case 2:
			unfinish(datagram)
		}
		return r.mark(datagram, inner)
	}
	switch r.IntN(7) {
	case 0, 1:
		return r.mark(ip(from.Addr(), to, proto, inner), inner)
	case 2:
		return r.mark(ip(from.Addr(), to, 47, slices.Concat([]byte{0, 0}, ethertype, inner)), inner)
	case 3:
		gre := slices.Concat([]byte{0x80, 0}, ethertype, []byte{0, 0, 0, 0}, inner)
		binary.BigEndian.PutUint16(gre[4:], checksum(gre))
		return r.mark(ip(from.Addr(), to, 47, gre), inner)
	case 4:
		return gue([]byte{0, proto, 0, 0}, inner)
	case 5: // variant 1
		return gue(inner)
	}
	inner = slices.Clone(inner)
	start, at := unfinish(inner)
	return gue([]byte{2, proto, 0, 1, 0x80, 0, 0, 0, 0, start, 0, at}, inner)
}

// mark copies the inner packet's traffic class, of which routers may have changed the
// last two bits on the way (RFC 6040).
func (r maker) mark(outer, inner []byte) []byte {
	class := inner[1]
	if inner[0]>>4 == 6 {
		class = inner[0]<<4 | inner[1]>>4
	}
	if r.IntN(8) == 0 {
		class = class&^3 | byte(r.IntN(4))
	}
	if outer[0]>>4 == 6 {
		outer[0], outer[1] = 0x60|class>>4, class<<4
		return outer
	}
	outer[1] = class
	resum(outer)
	return outer
}

// unfinish leaves a TCP or UDP checksum to the receiver or to hardware, and says where what is to be
// summed starts, and where the sum goes.
func unfinish(inner []byte) (start, at byte) {
	start = 20
	proto := inner[9]
	if inner[0]>>4 == 6 {
		start, proto = 40, inner[6]
	}
	at = start + 6
	if proto == 6 {
		at = start + 16
	}
	if len(inner) < int(at)+2 {
		return start, at
	}
	l4, addresses := inner[start:], inner[12:20]
	if start == 40 {
		addresses = inner[8:40]
	}
	length := uint16(len(l4))
	binary.BigEndian.PutUint16(inner[at:], ^checksum(addresses, []byte{0, proto, byte(length >> 8), byte(length)}))
	return start, at
}

// wrapByFront puts whatever the packet is by now into a front's tunnel.
func wrapByFront(f *fuzzer, b []byte) []byte {
	kind := choose(f, byFront, fromAnyone)
	made := kind(func(maker) []byte { return b })(maker{f.Rand, hasIPv6(b)})
	return f.buf[:copy(f.buf[:], made)]
}

// frontClasses are packets in tunnels of fronts.
var frontClasses = []class{
	{"front: SYN to NAT", byFront(segments(natVIP, "S"))},
	{"front: segment to NAT", byFront(segments(natVIP, "A", "PA", "FA"))},
	{"front: segment to TUN", byFront(segments(tunnelVIP, "S", "A", "PA", "R"))},
	{"front: segment to DR", byFront(segments(routeVIP, "S", "A", "PA", "FA"))},
	{"front: datagram to NAT", byFront(datagrams(natVIP))},
	{"front: datagram to TUN", byFront(datagrams(tunnelVIP))},
	{"front: SCTP to NAT", byFront(associations(natVIP, chunkInit, chunkData))},
	{"front: one packet", byFront(datagrams(onceVIP))},
	{"front: no server", byFront(segments(emptyVIP, "S", "A"))},
	{"front: killed", byFront(segments(killedVIP, "S", "A", "PA", "FA"))},
	{"front: call", byFront(calls)},
	{"front: marked", byFront(func(r maker) []byte { return segments(markedOf(r), "S", "A")(r) })},
	{"front: local server", byFront(segments(localVIP, "S", "A"))},
	{"front: local server, NAT", byFront(datagrams(localVIP))},
	{"front: no server but elsewhere", byFront(datagrams(addrPort(10, 0, 0, 81, 9000)))},
	{"front: small MTU", byFront(large(smallVIP))},
	{"front: large to TUN", byFront(large(tunnelVIP))},
	{"front: last hop", byFront(changed(segments(natVIP, "S", "A"), lastHop))},
	{"front: error of client", byFront(complaints(aboutAnswers(natVIP)))},
	{"front: ping", byFront(raw(1, 58))},
	{"front: fragment", byFront(fragments(natVIP))},
	{"front: reply", byFront(answers("SA", "A"))},
	{"front: port without service", byFront(segments(netip.AddrPortFrom(natVIP.Addr(), 81), "S", "A"))},
	{"front: address of nobody", byFront(datagrams(addrPort(10, 9, 9, 9, 80)))},
	{"front: of the director", byFront(func(r maker) []byte {
		return frame(clientMAC, udp(netip.AddrPortFrom(r.ofDirector(), 4000), r.of(tunnelVIP)))
	})},
	{"front: tunnel in a tunnel", byFront(byFront(segments(natVIP, "S")))},
	{"front: other protocol", byFront(raw(2, 50, 51, 89, 255))},
	{"front: in fragments", func(r maker) []byte {
		pieces := inFragments(byFront(segments(natVIP, "S"))(r)[14:], uint16(r.IntN(8)), 16)
		return frame(clientMAC, draw(r, pieces...))
	}},
	{"front: merged, with a wrong checksum", func(r maker) []byte {
		f := byFront(func(r maker) []byte {
			return frame(clientMAC, udp(r.client(), r.of(routeVIP), make([]byte, pairMTU-40-r.IntN(100))...))
		})(r)
		f[len(f)-1] ^= 1
		return f
	}},
	{"tunnel of anyone", fromAnyone(segments(natVIP, "S", "A"))},
	{"tunnel of anyone, UDP", fromAnyone(datagrams(tunnelVIP))},
}
