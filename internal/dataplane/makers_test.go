// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// maker draws what differs within a class.
type maker struct {
	*rand.Rand
	ipv6 bool
}

// of returns an address in the maker's family.
func (r maker) of(a netip.AddrPort) netip.AddrPort {
	if r.ipv6 {
		return inIPv6(a)
	}
	return a
}

func (r maker) ofAddr(a netip.Addr) netip.Addr { return r.of(netip.AddrPortFrom(a, 0)).Addr() }

func draw[T any](r maker, from ...T) T { return from[r.IntN(len(from))] }

func (r maker) client() netip.AddrPort {
	return r.of(netip.AddrPortFrom(client.Addr(), client.Port()+uint16(r.IntN(50))))
}

func (r maker) payload() []byte {
	return make([]byte, draw(r, 0, 0, 0, 1, 7, 100, 536))
}

func (r maker) server() netip.AddrPort { return r.of(draw(r, natServer, otherServer)) }

// segments is a class of TCP packets from clients.
func segments(to netip.AddrPort, flags ...string) func(maker) []byte {
	return func(r maker) []byte {
		return frame(clientMAC, tcp(r.client(), r.of(to), draw(r, flags...), r.payload()...))
	}
}

func datagrams(to netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte { return frame(clientMAC, udp(r.client(), r.of(to), r.payload()...)) }
}

// fragments are those of datagrams, in any order and by few numbers.
func fragments(to ...netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte {
		packet := udp(r.client(), r.of(draw(r, to...)), r.bytes(100)...)
		return frame(clientMAC, draw(r, inFragments(packet, uint16(r.IntN(16)), 40, 80)...))
	}
}

// associations is a class of SCTP packets from clients, with one chunk of the types
// or with two.
func associations(to netip.AddrPort, types ...byte) func(maker) []byte {
	return func(r maker) []byte { return frame(clientMAC, sctp(r.client(), r.of(to), r.chunks(types)...)) }
}

func (r maker) chunks(types []byte) [][]byte {
	first := chunk(draw(r, types...), draw(r, 4, 5, 8, 20, 101))
	if r.IntN(3) > 0 {
		return [][]byte{first}
	}
	return [][]byte{first, chunk(draw[byte](r, chunkData, chunkAbort), 16)}
}

// markedOf is one of the addresses that are one service.
func markedOf(r maker) netip.AddrPort {
	return addrPort(10, 0, 0, markedVIP.Addr().As4()[3]+byte(r.IntN(17)), draw[uint16](r, 80, 80, 81, 8080))
}

// calls are datagrams with a Call-ID.
func calls(r maker) []byte {
	text := fmt.Sprintf("INVITE sip:bob@example.test SIP/2.0\r\nTo: bob\r\n%s%d%s\r\n\r\n", draw(r, "Call-ID: ", "i:", "CALL-ID :\r\n "), r.IntN(20), draw(r, "", "@a.test"))
	return frame(clientMAC, udp(r.client(), r.of(sipVIP), []byte(text)...))
}

// answers are packets of NAT's servers.
func answers(flags ...string) func(maker) []byte {
	return func(r maker) []byte {
		s := r.server()
		packet := tcp(s, r.client(), draw(r, flags...), r.payload()...)
		if r.IntN(2) == 0 {
			packet = withSegmentOptions(packet, draw(r, segmentOptions...)...)
		}
		return frame(sideOf(s.Addr()), packet)
	}
}

// segmentOptions have an MSS for the most part, as the first or not.
var segmentOptions = [][]byte{
	{2, 4, 0x05, 0xb4}, {2, 4, 0x23, 0x00}, {2, 4, 0x02, 0x18}, {2, 4, 0x05, 0xb4, 1, 3, 3, 7},
	{1, 1, 1, 1, 2, 4, 0x05, 0xb4}, {2, 3, 0x05, 0xb4}, {3, 4, 0x05, 0xb4},
}

// changed makes a class of another one.
func changed(of func(maker) []byte, change func(r maker, ip []byte)) func(maker) []byte {
	return func(r maker) []byte {
		f := of(r)
		change(r, f[14:])
		mendFrame(f)
		return f
	}
}

func withoutChecksum(r maker, ip []byte) {
	if r.ipv6 {
		ip = ip[20:]
	}
	clear(ip[26:28])
}

func lastHop(r maker, ip []byte) {
	at := 8
	if r.ipv6 {
		at = 7
	}
	ip[at] = byte(r.IntN(2))
}

func breakable(r maker, ip []byte) {
	if !r.ipv6 {
		ip[6] &^= 0x40
	}
}

// wider is how much longer the family's header is than IPv4's.
func (r maker) wider() int {
	if r.ipv6 {
		return 20
	}
	return 0
}

// large are packets about as long as the ways to servers carry.
func large(to netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte {
		length := draw(r, 1240, 1241, 1260, 1261, 1280, 1281, 1460, 1461, 1480, 1481, 1500, 1501, 1600, 3000)
		if r.IntN(2) == 0 {
			return frame(clientMAC, udp(r.client(), r.of(to), make([]byte, length-28-r.wider())...))
		}
		return frame(clientMAC, tcp(r.client(), r.of(to), draw(r, "S", "A"), make([]byte, length-40-r.wider())...))
	}
}

func largeAssociations(to netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte {
		length := draw(r, 1240, 1260, 1264, 1280, 1284, 1480, 1484, 1500, 1504, 3000)
		return frame(clientMAC, sctp(r.client(), r.of(to), chunk(draw[byte](r, chunkInit, chunkData), length-32-r.wider())))
	}
}

// complaints are ICMP errors about what either side was sent.
func complaints(about func(r maker) (from, to netip.Addr, quoted []byte)) func(maker) []byte {
	return func(r maker) []byte {
		from, to, quoted := about(r)
		quoted = quoted[:min(len(quoted), r.wider()+draw(r, 20, 23, 24, 28, 48, 600))]
		kind := draw[byte](r, 3, 3, 3, 3, 4, 11, 11, 5, 8, 12)
		if from.Is6() {
			kind = draw[byte](r, 1, 1, 2, 2, 3, 4, 100, 127, 128, 135)
		}
		packet := icmpError(from, to, kind, byte(r.IntN(6)), uint16(r.IntN(1600)), quoted)
		return frame(sideOf(from), packet)
	}
}

func aboutAnswers(v netip.AddrPort) func(r maker) (from, to netip.Addr, quoted []byte) {
	return func(r maker) (from, to netip.Addr, quoted []byte) {
		c, v := r.client(), r.of(v)
		return draw(r, r.ofAddr(router), c.Addr()), v.Addr(), draw(r, tcp(v, c, "A"), udp(v, c, r.payload()...), sctp(v, c, chunk(chunkData, 20)))
	}
}

func aboutRequests(r maker) (from, to netip.Addr, quoted []byte) {
	c, s := r.client(), r.server()
	return s.Addr(), c.Addr(), draw(r, tcp(c, s, "A"), udp(c, s, r.payload()...), sctp(c, s, chunk(chunkData, 20)))
}

func aboutTunnels(r maker) (from, to netip.Addr, quoted []byte) {
	s := draw(r, addrPort(192, 168, 1, 13, 80), addrPort(192, 168, 1, 14, 80)).Addr()
	c, v, kind := r.client(), r.of(tunnelVIP), byte(4)
	if r.ipv6 {
		kind = 41
	}
	inner := draw(r, tcp(c, v, "A", make([]byte, r.IntN(700))...), udp(c, v, r.payload()...))
	return draw(r, s, netip.MustParseAddr("192.168.1.254")), directorAddress, ipv4(directorAddress, s, kind, inner)
}

// aboutShims quotes GRE and GUE, in IPv4 or IPv6 and with either inside.
func aboutShims(r maker) (from, to netip.Addr, quoted []byte) {
	inside := maker{r.Rand, r.IntN(2) == 0}
	c, v := inside.client(), inside.of(shimVIP)
	inner := draw(r, tcp(c, v, "A", make([]byte, r.IntN(700))...), udp(c, v, r.payload()...))
	kind, proto := []byte{8, 0}, byte(4)
	if inside.ipv6 {
		kind, proto = []byte{0x86, 0xdd}, 41
	}
	s := r.of(addrPort(192, 168, 1, draw[byte](r, 26, 27, 28, 29), draw[uint16](r, 6080, 6080, 6081, 6082)))
	gre := slices.Concat(draw(r, []byte{0, 0}, []byte{0, 0}, []byte{0x20, 0}), kind, inner)
	if r.IntN(2) == 0 {
		gre = slices.Concat([]byte{0x80, 0}, kind, make([]byte, 4), inner)
	}
	gue := udp(r.of(netip.AddrPortFrom(directorAddress, 50000)), s, slices.Concat([]byte{0, proto, 0, 0}, inner)...)
	own := draw(r, directorAddress, directorAddress, s.Addr())
	if r.ipv6 {
		own = directorAddress6
	}
	if r.IntN(2) == 0 {
		quoted = ip(own, s.Addr(), 47, gre)
	} else {
		quoted = ip(own, s.Addr(), 17, gue[r.wider()+20:])
	}
	return draw(r, s.Addr(), r.ofAddr(router)), own, quoted
}

// raw is a packet of any IP protocol.
func raw(protocols ...byte) func(maker) []byte {
	return func(r maker) []byte {
		return frame(clientMAC, ip(r.client().Addr(), r.of(draw(r, natVIP, tunnelVIP)).Addr(), draw(r, protocols...), r.bytes(r.IntN(60))))
	}
}

func (r maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// ethernet is a frame of another protocol than IPv4.
func ethernet(kinds ...uint16) func(maker) []byte {
	return func(r maker) []byte {
		kind := draw(r, kinds...)
		return slices.Concat(directorMAC, clientMAC, []byte{byte(kind >> 8), byte(kind)}, r.bytes(r.IntN(100)))
	}
}

// loopbackLike is the loopback address of the same family, with the same port.
func loopbackLike(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4() {
		return addrPort(127, 0, 0, 1, a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
}
