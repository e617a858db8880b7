// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"slices"
)

// The services that fuzzed packets are sent to, one for each method and for
// each thing that can be the matter with a server.
var (
	natVIP      = netip.MustParseAddrPort("10.0.0.80:80")
	tunnelVIP   = netip.MustParseAddrPort("10.0.0.81:80")
	routeVIP    = netip.MustParseAddrPort("10.0.0.82:80")
	emptyVIP    = netip.MustParseAddrPort("10.0.0.83:80")
	goneVIP     = netip.MustParseAddrPort("10.0.0.84:80") // its server is removed after it got connections
	onceVIP     = netip.MustParseAddrPort("10.0.0.85:53")
	noRouteVIP  = netip.MustParseAddrPort("10.0.0.86:80")
	localVIP    = netip.MustParseAddrPort("10.0.0.87:80")
	silentVIP   = netip.MustParseAddrPort("10.0.0.88:80") // its server's neighbour does not answer
	smallVIP    = netip.MustParseAddrPort("10.0.0.89:80") // the way to its server has an MTU of 1280
	natServer   = netip.MustParseAddrPort("192.168.1.11:8080")
	otherServer = netip.MustParseAddrPort("192.168.1.12:8080")
	router      = netip.MustParseAddr("172.16.255.1")
)

// fuzzedTable are the commands that make the services.
var fuzzedTable = []string{
	"-A -t 10.0.0.80:80 -s wlc", "-a -t 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -u 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -t 10.0.0.81:80 -s sh -b sh-port", "-a -t 10.0.0.81:80 -r 192.168.1.13 -i", "-a -t 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -u 10.0.0.81:80 -s mh", "-a -u 10.0.0.81:80 -r 192.168.1.13 -i", "-a -u 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -t 10.0.0.82:80 -s wrr", "-a -t 10.0.0.82:80 -r 192.168.1.15 -g -w 3", "-a -t 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -u 10.0.0.82:80 -s lblc", "-a -u 10.0.0.82:80 -r 192.168.1.15 -g", "-a -u 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -t 10.0.0.83:80 -s rr", "-A -u 10.0.0.83:80 -s wlc",
	"-A -t 10.0.0.84:80 -s rr", "-a -t 10.0.0.84:80 -r 192.168.1.17:80 -m", "-A -u 10.0.0.84:80 -s rr", "-a -u 10.0.0.84:80 -r 192.168.1.17:80 -g",
	"-A -u 10.0.0.85:53 -s rr -o", "-a -u 10.0.0.85:53 -r 192.168.1.11:53 -m", "-a -u 10.0.0.85:53 -r 192.168.1.15 -g", "-a -u 10.0.0.85:53 -r 192.168.1.13 -i",
	"-A -t 10.0.0.86:80 -s rr", "-a -t 10.0.0.86:80 -r 192.168.1.21 -g",
	"-A -t 10.0.0.87:80 -s rr", "-a -t 10.0.0.87:80 -r 192.168.1.22 -g",
	"-A -t 10.0.0.88:80 -s rr", "-a -t 10.0.0.88:80 -r 192.168.1.23 -g", "-A -u 10.0.0.88:80 -s rr", "-a -u 10.0.0.88:80 -r 192.168.1.23 -m",
	"-A -t 10.0.0.89:80 -s rr", "-a -t 10.0.0.89:80 -r 192.168.1.24 -i", "-A -u 10.0.0.89:80 -s rr", "-a -u 10.0.0.89:80 -r 192.168.1.24 -m",
}

// class is a kind of valid packet.
type class struct {
	name string
	make func(r maker) []byte // the frame
}

// maker draws what differs within a class.
type maker struct{ *rand.Rand }

func draw[T any](r maker, from ...T) T { return from[r.IntN(len(from))] }

func (r maker) client() netip.AddrPort {
	return netip.AddrPortFrom(client.Addr(), client.Port()+uint16(r.IntN(50)))
}

func (r maker) payload() []byte {
	return make([]byte, draw(r, 0, 0, 0, 1, 7, 100, 536))
}

func (r maker) server() netip.AddrPort { return draw(r, natServer, otherServer) }

// segments is a class of TCP packets from clients.
func segments(to netip.AddrPort, flags ...string) func(maker) []byte {
	return func(r maker) []byte {
		return frame(clientMAC, tcp(r.client(), to, draw(r, flags...), r.payload()...))
	}
}

func datagrams(to netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte { return frame(clientMAC, udp(r.client(), to, r.payload()...)) }
}

// answers are packets of NAT's servers.
func answers(flags ...string) func(maker) []byte {
	return func(r maker) []byte {
		s := r.server()
		return frame(sideOf(s.Addr()), tcp(s, r.client(), draw(r, flags...), r.payload()...))
	}
}

// changed makes a class of another one.
func changed(of func(maker) []byte, change func(r maker, ip []byte)) func(maker) []byte {
	return func(r maker) []byte {
		f := of(r)
		change(r, f[14:])
		mend(f[14:])
		return f
	}
}

func withoutChecksum(_ maker, ip []byte) { clear(ip[26:28]) }
func lastHop(r maker, ip []byte)         { ip[8] = byte(r.IntN(2)) }
func breakable(_ maker, ip []byte)       { ip[6] &^= 0x40 }

// large are packets about as long as the ways to servers carry.
func large(to netip.AddrPort) func(maker) []byte {
	return func(r maker) []byte {
		length := draw(r, 1240, 1241, 1260, 1261, 1280, 1281, 1460, 1461, 1480, 1481, 1500, 1501, 1600, 3000)
		if r.IntN(2) == 0 {
			return frame(clientMAC, udp(r.client(), to, make([]byte, length-28)...))
		}
		return frame(clientMAC, tcp(r.client(), to, draw(r, "S", "A"), make([]byte, length-40)...))
	}
}

// complaints are ICMP errors about what either side was sent.
func complaints(about func(r maker) (from, to netip.Addr, quoted []byte)) func(maker) []byte {
	return func(r maker) []byte {
		from, to, quoted := about(r)
		quoted = quoted[:min(len(quoted), draw(r, 20, 23, 24, 28, 48, 600))]
		ip := icmpError(from, to, draw[byte](r, 3, 3, 3, 3, 4, 11, 11, 5, 8, 12), byte(r.IntN(6)), uint16(r.IntN(1600)), quoted)
		return frame(sideOf(from), ip)
	}
}

func aboutAnswers(v netip.AddrPort) func(r maker) (from, to netip.Addr, quoted []byte) {
	return func(r maker) (from, to netip.Addr, quoted []byte) {
		c := r.client()
		return draw(r, router, c.Addr()), v.Addr(), draw(r, tcp(v, c, "A"), udp(v, c, r.payload()...))
	}
}

func aboutRequests(r maker) (from, to netip.Addr, quoted []byte) {
	c, s := r.client(), r.server()
	return s.Addr(), c.Addr(), draw(r, tcp(c, s, "A"), udp(c, s, r.payload()...))
}

func aboutTunnels(r maker) (from, to netip.Addr, quoted []byte) {
	s := draw(r, addrPort(192, 168, 1, 13, 80), addrPort(192, 168, 1, 14, 80)).Addr()
	c, v := r.client(), tunnelVIP
	inner := draw(r, tcp(c, v, "A", make([]byte, r.IntN(700))...), udp(c, v, r.payload()...))
	return draw(r, s, netip.MustParseAddr("192.168.1.254")), directorAddress, ipv4(directorAddress, s, 4, inner)
}

// raw is a packet of any IP protocol.
func raw(protocols ...byte) func(maker) []byte {
	return func(r maker) []byte {
		return frame(clientMAC, ipv4(client.Addr(), draw(r, natVIP, tunnelVIP).Addr(), draw(r, protocols...), r.bytes(r.IntN(60))))
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
	{"one packet", datagrams(onceVIP)},
	{"no server, TCP", segments(emptyVIP, "S", "S", "A")},
	{"no server, UDP", datagrams(emptyVIP)},
	{"server removed, TCP", segments(goneVIP, "S", "A", "FA")},
	{"server removed, UDP", datagrams(goneVIP)},
	{"server without route", segments(noRouteVIP, "S", "A")},
	{"local server", segments(localVIP, "S", "A")},
	{"server without neighbour", segments(silentVIP, "S", "A")},
	{"small MTU", large(smallVIP)},
	{"large to NAT", large(natVIP)},
	{"large to TUN", large(tunnelVIP)},
	{"large to DR", large(routeVIP)},
	{"large and breakable", changed(large(tunnelVIP), breakable)},
	{"last hop", changed(segments(natVIP, "S", "A"), lastHop)},
	{"reply", answers("SA", "A", "PA")},
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
	{"port without service", segments(netip.AddrPortFrom(natVIP.Addr(), 81), "S", "A")},
	{"address of nobody", segments(addrPort(10, 9, 9, 9, 80), "S", "A")},
	{"from the VIP", func(r maker) []byte { return frame(clientMAC, tcp(natVIP, natVIP, "S")) }},
	{"other protocol", raw(0, 2, 4, 41, 47, 50, 51, 89, 132, 255)},
	{"ARP, LLDP, MPLS", ethernet(0x0806, 0x88cc, 0x8847, 0x0800)},
	{"random bytes as IP", raw(1, 6, 17)},
}
