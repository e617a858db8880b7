// SPDX-License-Identifier: Apache-2.0

package dataplane

import "net/netip"

// class is a kind of valid packet, in both families.
type class struct {
	name string
	make func(r maker) []byte // the frame
}

// classes are the kinds of packets that mutators start from.
var classes = []class{
	{"SYN to NAT", segments(natVIP, "S")},
	{"SYN to TUN", segments(tunnelVIP, "S")},
	{"SYN to DR", segments(routeVIP, "S")},
	{"segment to NAT", segments(natVIP, "A", "PA")},
	{"segment to TUN", segments(tunnelVIP, "A", "PA")},
	{"segment to DR", segments(routeVIP, "A", "PA")},
	{"end to NAT", segments(natVIP, "FA", "R", "RA")},
	{"end to TUN", segments(tunnelVIP, "FA", "R", "RA")},
	{"end to DR", segments(routeVIP, "FA", "R", "RA")},
	{"odd flags", segments(natVIP, "", "SF", "SR", "F", "P", "SA", "FSRPA")},
	{"datagram to NAT", datagrams(natVIP)},
	{"datagram to TUN", datagrams(tunnelVIP)},
	{"datagram to DR", datagrams(routeVIP)},
	{"datagram without checksum", changed(datagrams(natVIP), withoutChecksum)},
	{"INIT to NAT", associations(natVIP, chunkInit)},
	{"INIT to TUN", associations(tunnelVIP, chunkInit)},
	{"INIT to DR", associations(routeVIP, chunkInit)},
	{"SCTP to NAT", associations(natVIP, chunkData, chunkCookieEcho, chunkCookieAck, chunkHeartbeat)},
	{"SCTP to TUN", associations(tunnelVIP, chunkData, chunkCookieEcho, chunkCookieAck, chunkInitAck)},
	{"SCTP to DR", associations(routeVIP, chunkData, chunkCookieEcho, chunkCookieAck, 15)},
	{"end of SCTP", associations(natVIP, chunkAbort, chunkShutdown, chunkShutdownAck, chunkComplete, chunkError)},
	{"SCTP of server", func(r maker) []byte {
		s := r.server()
		types := []byte{chunkInit, chunkInitAck, chunkCookieAck, chunkData, chunkData, chunkShutdown, chunkAbort}
		return frame(sideOf(s.Addr()), sctp(s, r.client(), r.chunks(types)...))
	}},
	{"no server, SCTP", associations(emptyVIP, chunkInit, chunkData)},
	{"large SCTP", largeAssociations(smallVIP)},
	{"large SCTP to TUN", largeAssociations(tunnelVIP)},
	{"one packet", datagrams(onceVIP)},
	{"no server, TCP", segments(emptyVIP, "S", "S", "A")},
	{"no server, UDP", datagrams(emptyVIP)},
	{"server removed, TCP", segments(goneVIP, "S", "A", "FA")},
	{"server removed, UDP", datagrams(goneVIP)},
	{"killed, TCP", segments(killedVIP, "S", "A", "A", "PA", "PA", "FA", "F", "R")},
	{"killed, first fragment", func(r maker) []byte {
		packet := tcp(r.client(), r.of(killedVIP), draw(r, "A", "PA"), r.bytes(100)...)
		return frame(clientMAC, inFragments(packet, uint16(r.Uint32()), 40)[0])
	}},
	{"fragment to NAT", fragments(natVIP)},
	{"fragment to TUN", fragments(tunnelVIP)},
	{"fragment to DR", fragments(routeVIP)},
	{"fragment to GRE and GUE", fragments(shimVIP)},
	{"fragment of one packet", fragments(onceVIP)},
	{"fragment to where the way is none", fragments(emptyVIP, goneVIP, localVIP, silentVIP, noPortVIP, addrPort(10, 0, 0, 81, 9000))},
	{"fragment, last hop", changed(fragments(natVIP, tunnelVIP), lastHop)},
	{"large fragment", func(r maker) []byte {
		packet := udp(r.client(), r.of(draw(r, smallVIP, noPortVIP)), r.bytes(4600)...)
		return frame(clientMAC, draw(r, inFragments(packet, uint16(r.IntN(16)), 1240, draw(r, 2800, 4200))...))
	}},
	{"fragment of server", func(r maker) []byte {
		s := r.server()
		packet := udp(s, r.client(), r.bytes(draw(r, 100, 3000))...)
		return frame(sideOf(s.Addr()), draw(r, inFragments(packet, uint16(r.IntN(16)), 40, 80)...))
	}},
	{"killed, UDP", datagrams(killedVIP)},
	{"killed, large", large(killedVIP)},
	{"reply of killed", func(r maker) []byte {
		s := r.of(killedServer)
		return frame(sideOf(s.Addr()), tcp(s, r.client(), draw(r, "SA", "A", "PA", "R"), r.payload()...))
	}},
	{"server removed and told, TCP", segments(toldVIP, "S", "A", "FA")},
	{"server removed and told, UDP", datagrams(toldVIP)},
	{"call", calls},
	{"datagram without call", datagrams(sipVIP)},
	{"marked, TCP", func(r maker) []byte { return segments(markedOf(r), "S", "A", "FA")(r) }},
	{"marked, UDP", func(r maker) []byte { return datagrams(markedOf(r))(r) }},
	{"no server but elsewhere, TCP", segments(addrPort(10, 0, 0, 81, 9000), "S", "S", "A", "FA", "R")},
	{"no server but elsewhere, UDP", datagrams(addrPort(10, 0, 0, 81, 9000))},
	{"no server but elsewhere, INIT", associations(addrPort(10, 0, 0, 81, 9000), chunkInit)},
	{"no server and nowhere else", segments(addrPort(10, 0, 0, 80, 9000), "S", "A")},
	{"error of client, elsewhere", complaints(aboutAnswers(addrPort(10, 0, 0, 81, 9000)))},
	{"no interface to the server, TCP", segments(noPortVIP, "S", "A")},
	{"no interface to the server, UDP", datagrams(noPortVIP)},
	{"merged", large(noPortVIP)},
	{"server without route", segments(noRouteVIP, "S", "A")},
	{"local server", segments(localVIP, "S", "A", "FA")},
	{"local server, NAT", datagrams(localVIP)},
	{"server without neighbour", segments(silentVIP, "S", "A")},
	{"small MTU", large(smallVIP)},
	{"large to NAT", large(natVIP)},
	{"large to TUN", large(tunnelVIP)},
	{"large to DR", large(routeVIP)},
	{"large and breakable", changed(large(tunnelVIP), breakable)},
	{"last hop", changed(segments(natVIP, "S", "A"), lastHop)},
	{"reply", answers("SA", "A", "PA")},
	{"large reply", func(r maker) []byte {
		s, size := r.server(), draw(r, 1300, 1440, 1441, 1460, 1461, 1472, 1473, 1600, 2840)
		packet := draw(r, tcp(s, r.client(), draw(r, "A", "RA"), r.bytes(size)...), udp(s, r.client(), r.bytes(size)...))
		return frame(sideOf(s.Addr()), packet)
	}},
	{"end of reply", answers("FA", "R", "RA")},
	{"reply of nobody", answers("S", "SA", "")},
	{"reply at its last hop", changed(answers("A"), lastHop)},
	{"datagram of server", func(r maker) []byte {
		s := r.server()
		return frame(sideOf(s.Addr()), udp(s, r.client(), r.payload()...))
	}},
	{"datagram of server, without checksum", changed(func(r maker) []byte {
		s := r.server()
		return frame(sideOf(s.Addr()), udp(s, r.client(), r.payload()...))
	}, withoutChecksum)},
	{"error of client, NAT", complaints(aboutAnswers(natVIP))},
	{"error of client, TUN", complaints(aboutAnswers(tunnelVIP))},
	{"error of client, DR", complaints(aboutAnswers(routeVIP))},
	{"error of client, no neighbour", complaints(aboutAnswers(silentVIP))},
	{"error of server", complaints(aboutRequests)},
	{"error about tunnel", complaints(aboutTunnels)},
	{"SYN to GRE and GUE", segments(shimVIP, "S")},
	{"segment to GRE and GUE", segments(shimVIP, "A", "PA", "FA")},
	{"datagram to GRE and GUE", datagrams(shimVIP)},
	{"SCTP to GUE", associations(shimVIP, chunkInit, chunkData)},
	{"large to GRE and GUE", large(shimVIP)},
	{"error about GRE and GUE", complaints(aboutShims)},
	{"error of client, GRE and GUE", complaints(aboutAnswers(shimVIP))},
	{"error at its last hop", changed(complaints(aboutAnswers(natVIP)), lastHop)},
	{"error with a wrong checksum", func(r maker) []byte {
		f := complaints(aboutAnswers(natVIP))(r)
		f[14+20+r.wider()+2] ^= 1
		return f
	}},
	{"port without service", segments(netip.AddrPortFrom(natVIP.Addr(), 81), "S", "A")},
	{"address of nobody", segments(addrPort(10, 9, 9, 9, 80), "S", "A")},
	{"from the VIP", func(r maker) []byte { return frame(clientMAC, tcp(r.of(natVIP), r.of(natVIP), "S")) }},
	{"VIP to NAT", func(r maker) []byte {
		from, to, payload := r.of(draw(r, tunnelVIP, routeVIP)), r.of(natVIP), r.payload()
		return frame(clientMAC, draw(r, udp(from, to, payload...), tcp(from, to, draw(r, "S", "A"), payload...)))
	}},
	{"server to a VIP", func(r maker) []byte {
		from, to, payload := r.server(), r.of(draw(r, tunnelVIP, routeVIP)), r.payload()
		return frame(sideOf(from.Addr()), draw(r, udp(from, to, payload...), tcp(from, to, draw(r, "S", "A"), payload...)))
	}},
	{"other protocol", raw(0, 2, 4, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 132, 255)},
	{"ARP, LLDP, MPLS", ethernet(0x0806, 0x88cc, 0x8847, 0x0800, 0x86dd)},
	{"random bytes as IP", raw(1, 6, 17, 58)},
}

// ownClasses are the kinds of packets that the director itself sends: as a client,
// and as a real server.
var ownClasses = []class{
	{"segment to NAT", segments(natVIP, "S", "A", "PA", "FA", "R")},
	{"segment to TUN", segments(tunnelVIP, "S", "A", "PA", "FA", "R")},
	{"segment to DR", segments(routeVIP, "S", "A", "PA", "FA", "R")},
	{"datagram to NAT", datagrams(natVIP)},
	{"datagram to TUN", datagrams(tunnelVIP)},
	{"SCTP to NAT", associations(natVIP, chunkInit, chunkData, chunkCookieEcho, chunkAbort)},
	{"one packet", datagrams(onceVIP)},
	{"no server", segments(emptyVIP, "S", "A")},
	{"server without route", segments(noRouteVIP, "S", "A")},
	{"server without neighbour", segments(silentVIP, "S", "A")},
	{"killed", segments(killedVIP, "S", "A", "PA", "FA", "R")},
	{"call", calls},
	{"marked", func(r maker) []byte { return segments(markedOf(r), "S", "A", "FA")(r) }},
	{"small MTU", large(smallVIP)},
	{"large to NAT", large(natVIP)},
	{"large and breakable", changed(large(tunnelVIP), breakable)},
	{"segment to GRE and GUE", segments(shimVIP, "S", "A", "PA", "FA", "R")},
	{"datagram to GRE and GUE", datagrams(shimVIP)},
	{"first fragment", func(r maker) []byte {
		packet := udp(r.client(), r.of(natVIP), r.bytes(100)...)
		return frame(clientMAC, inFragments(packet, uint16(r.Uint32()), 40)[0])
	}},
	{"error", complaints(aboutAnswers(natVIP))},
	{"port without service", segments(netip.AddrPortFrom(natVIP.Addr(), 81), "S", "A")},
	{"from the VIP", func(r maker) []byte { return frame(clientMAC, tcp(r.of(natVIP), r.of(natVIP), "S")) }},
	{"from the loopback address", func(r maker) []byte {
		from := loopbackLike(r.of(netip.AddrPortFrom(natVIP.Addr(), 41000+uint16(r.IntN(4)))))
		to := r.of(draw(r, natVIP, tunnelVIP, routeVIP, localVIP))
		if r.IntN(2) == 0 {
			return frame(clientMAC, udp(from, to, r.payload()...))
		}
		return frame(clientMAC, tcp(from, to, draw(r, "S", "A", "PA", "FA", "R"), r.payload()...))
	}},
	{"local server", segments(localVIP, "S", "A", "FA")},
	{"local server, NAT", datagrams(localVIP)},
	{"reply of local server", func(r maker) []byte {
		return frame(clientMAC, tcp(r.of(localVIP), r.client(), draw(r, "SA", "A", "PA", "FA", "R"), r.payload()...))
	}},
	{"reply of local server, NAT", func(r maker) []byte {
		return frame(clientMAC, udp(r.of(localServer), r.client(), r.payload()...))
	}},
	{"reply of local server, NAT, in fragments", func(r maker) []byte {
		packet := udp(r.of(localServer), r.client(), make([]byte, 100)...)
		return frame(clientMAC, draw(r, inFragments(packet, uint16(r.IntN(4)), 40)...))
	}},
	{"error of local server, NAT", func(r maker) []byte {
		client, server := r.client(), r.of(localServer)
		kind, code := byte(3), byte(3) // port unreachable
		if client.Addr().Is6() {
			kind, code = 1, 4
		}
		return frame(clientMAC, icmpError(server.Addr(), client.Addr(), kind, code, 0, udp(client, server, r.payload()...)))
	}},
}
