// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// The services that fuzzed packets are sent to, one for each method and for
// each thing that can be the matter with a server.
var (
	natVIP       = netip.MustParseAddrPort("10.0.0.80:80")
	tunnelVIP    = netip.MustParseAddrPort("10.0.0.81:80")
	routeVIP     = netip.MustParseAddrPort("10.0.0.82:80")
	emptyVIP     = netip.MustParseAddrPort("10.0.0.83:80")
	goneVIP      = netip.MustParseAddrPort("10.0.0.84:80") // its server is removed after it got connections
	onceVIP      = netip.MustParseAddrPort("10.0.0.85:53")
	noRouteVIP   = netip.MustParseAddrPort("10.0.0.86:80")
	localVIP     = netip.MustParseAddrPort("10.0.0.87:80")
	localServer  = addrPort(192, 168, 1, 22, 8080)
	silentVIP    = netip.MustParseAddrPort("10.0.0.88:80") // its server's neighbour does not answer
	smallVIP     = netip.MustParseAddrPort("10.0.0.89:80") // the way to its server has an MTU of 1280
	killedVIP    = netip.MustParseAddrPort("10.0.0.90:80") // its connections are killed now and then
	toldVIP      = netip.MustParseAddrPort("10.0.0.91:80") // as goneVIP, but its clients are told
	sipVIP       = netip.MustParseAddrPort("10.0.0.92:5060")
	noPortVIP    = netip.MustParseAddrPort("10.0.0.93:80")  // the interface to its server does not send
	fillingVIP   = netip.MustParseAddrPort("10.0.0.94:80")  // the connections of a full table
	shimVIP      = netip.MustParseAddrPort("10.0.0.95:80")  // its tunnels have GRE or GUE between the headers
	markedVIP    = netip.MustParseAddrPort("10.0.0.128:80") // and fifteen more addresses are one service
	natServer    = netip.MustParseAddrPort("192.168.1.11:8080")
	otherServer  = netip.MustParseAddrPort("192.168.1.12:8080")
	killedServer = netip.MustParseAddrPort("192.168.1.18:8080")
	router       = netip.MustParseAddr("172.16.255.1")
)

// fuzzedTable are the commands that make the services.
var fuzzedTable = []string{
	"-A -t 10.0.0.80:80 -s wlc", "-a -t 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -u 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A --sctp-service 10.0.0.80:80 -s wlc", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -t 10.0.0.81:80 -s sh -b sh-port", "-a -t 10.0.0.81:80 -r 192.168.1.13 -i", "-a -t 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -u 10.0.0.81:80 -s mh", "-a -u 10.0.0.81:80 -r 192.168.1.13 -i", "-a -u 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A --sctp-service 10.0.0.81:80 -s mh -b mh-port", "-a --sctp-service 10.0.0.81:80 -r 192.168.1.13 -i", "-a --sctp-service 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -t 10.0.0.82:80 -s wrr", "-a -t 10.0.0.82:80 -r 192.168.1.15 -g -w 3", "-a -t 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -u 10.0.0.82:80 -s lblc", "-a -u 10.0.0.82:80 -r 192.168.1.15 -g", "-a -u 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A --sctp-service 10.0.0.82:80 -s rr", "-a --sctp-service 10.0.0.82:80 -r 192.168.1.15 -g", "-a --sctp-service 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -t 10.0.0.83:80 -s rr", "-A -u 10.0.0.83:80 -s wlc", "-A --sctp-service 10.0.0.83:80 -s wlc",
	"-A -t 10.0.0.84:80 -s rr", "-a -t 10.0.0.84:80 -r 192.168.1.17:80 -m", "-A -u 10.0.0.84:80 -s rr", "-a -u 10.0.0.84:80 -r 192.168.1.17:80 -g",
	"-A -u 10.0.0.85:53 -s rr -o", "-a -u 10.0.0.85:53 -r 192.168.1.11:53 -m", "-a -u 10.0.0.85:53 -r 192.168.1.15 -g", "-a -u 10.0.0.85:53 -r 192.168.1.13 -i",
	"-A -t 10.0.0.86:80 -s rr", "-a -t 10.0.0.86:80 -r 192.168.1.21 -g",
	"-A -t 10.0.0.87:80 -s rr", "-a -t 10.0.0.87:80 -r 192.168.1.22 -g", "-A -u 10.0.0.87:80 -s rr", "-a -u 10.0.0.87:80 -r 192.168.1.22:8080 -m",
	"-A -t 10.0.0.88:80 -s rr", "-a -t 10.0.0.88:80 -r 192.168.1.23 -g", "-A -u 10.0.0.88:80 -s rr", "-a -u 10.0.0.88:80 -r 192.168.1.23 -m",
	"-A -t 10.0.0.89:80 -s rr", "-a -t 10.0.0.89:80 -r 192.168.1.24 -i", "-A -u 10.0.0.89:80 -s rr", "-a -u 10.0.0.89:80 -r 192.168.1.24 -m",
	"-A --sctp-service 10.0.0.89:80 -s rr", "-a --sctp-service 10.0.0.89:80 -r 192.168.1.24 -m", // the same port: fragments go on, too
	"-A -t 10.0.0.90:80 -s rr", "-a -t 10.0.0.90:80 -r 192.168.1.18:8080 -m", "-a -t 10.0.0.90:80 -r 192.168.1.13 -i", "-A -u 10.0.0.90:80 -s rr", "-a -u 10.0.0.90:80 -r 192.168.1.18:8080 -m",
	"-A -t 10.0.0.91:80 -s rr", "-a -t 10.0.0.91:80 -r 192.168.1.19 -g", "-A -u 10.0.0.91:80 -s rr", "-a -u 10.0.0.91:80 -r 192.168.1.19 -g",
	"-A -u 10.0.0.92:5060 -s rr -p 60 --pe sip", "-a -u 10.0.0.92:5060 -r 192.168.1.11:5060 -m", "-a -u 10.0.0.92:5060 -r 192.168.1.12:5060 -m",
	"-A -t 10.0.0.93:80 -s rr", "-a -t 10.0.0.93:80 -r 192.168.1.25 -g", "-a -t 10.0.0.93:80 -r 192.168.1.25:8080 -m", "-A -u 10.0.0.93:80 -s rr", "-a -u 10.0.0.93:80 -r 192.168.1.25 -i",
	"-A -t 10.0.0.94:80 -s rr", "-a -t 10.0.0.94:80 -r 192.168.1.15 -g",
	"-A -t 10.0.0.95:80 -s rr", "-a -t 10.0.0.95:80 -r 192.168.1.26 -i --tun-type gre", "-a -t 10.0.0.95:80 -r 192.168.1.27 -i --tun-type gue --tun-port 6080",
	"-A -u 10.0.0.95:80 -s rr", "-a -u 10.0.0.95:80 -r 192.168.1.28 -i --tun-type gre --tun-csum", "-a -u 10.0.0.95:80 -r 192.168.1.29 -i --tun-type gue --tun-port 6081 --tun-csum",
	"-A --sctp-service 10.0.0.95:80 -s rr", "-a --sctp-service 10.0.0.95:80 -r 192.168.1.27 -i --tun-type gue --tun-port 6080 --tun-remcsum",
}

// fuzzedMarks are the commands for a service of many addresses.
var fuzzedMarks = []string{
	"ipvsadm -A -f 7 -s rr -p 60", "ipvsadm -a -f 7 -r 192.168.1.15:0 -g", "ipvsadm -a -f 7 -r 192.168.1.11:8080 -m",
	"ipvsadm -A -f 7 -6 -s wlc", "ipvsadm -a -f 7 -6 -r [2001:db8:1::15]:0 -g", "ipvsadm -a -f 7 -6 -r [2001:db8:1::11]:8080 -m",
	"lvsx mark add --vip 10.0.0.128/28 --mark 7", "lvsx mark add --vip 10.0.0.129 --proto tcp --ports 81 --mark 8",
	"ipvsadm -A -f 9 -s rr", "ipvsadm -A -f 9 -6 -s rr -p 60",
	"lvsx mark add --vip 10.0.0.80/31 --ports 9000-9999 --mark 9", "lvsx mark add --vip 2001:db8::80/127 --ports 9000-9999 --mark 9",
	"lvsx mark add --vip 2001:db8::100/120 --ports 80-8080 --mark 7",
}

// fuzzedTable6 are those of the same services in IPv6, and servers of the other
// family behind tunnels.
func fuzzedTable6() []string {
	lines := []string{
		"-a -t 10.0.0.81:80 -r [2001:db8:1::14] -i", "-a -u 10.0.0.81:80 -r [2001:db8:1::14] -i",
		"-a -u 10.0.0.87:80 -r 127.0.0.1:80 -m",
	}
	for _, line := range fuzzedTable {
		words := strings.Fields(line)
		for i, word := range words {
			if a, err := netip.ParseAddrPort(word); err == nil {
				words[i] = inIPv6(a).String()
			} else if a, err := netip.ParseAddr(word); err == nil {
				words[i] = "[" + inIPv6(netip.AddrPortFrom(a, 0)).Addr().String() + "]"
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	lines = append(lines, "-a -t 10.0.0.95:80 -r [2001:db8:1::26] -i --tun-type gre", "-a -u 10.0.0.95:80 -r [2001:db8:1::27] -i --tun-type gue --tun-port 6080 --tun-csum",
		"-a -t [2001:db8::95]:80 -r 192.168.1.28 -i --tun-type gre --tun-csum", "-a -u [2001:db8::95]:80 -r 192.168.1.29 -i --tun-type gue --tun-port 6081")
	return append(lines, "-a -t [2001:db8::81]:80 -r 192.168.1.14 -i", "-a -u [2001:db8::81]:80 -r 192.168.1.14 -i")
}

// inIPv6 returns the IPv6 address that stands for an IPv4 one: 10.0.0.80 is
// 2001:db8::80, 192.168.1.11 is 2001:db8:1::11, the rest is 2001:db8:c::.
func inIPv6(a netip.AddrPort) netip.AddrPort {
	b := a.Addr().As4()
	text := fmt.Sprintf("2001:db8:c::%d:%d:%d", b[1], b[2], b[3])
	switch b[0] {
	case 10:
		text = fmt.Sprintf("2001:db8::%d", b[3])
	case 192:
		text = fmt.Sprintf("2001:db8:1::%d", b[3])
	}
	return netip.AddrPortFrom(netip.MustParseAddr(text), a.Port())
}

// class is a kind of valid packet, in both families.
type class struct {
	name string
	make func(r maker) []byte // the frame
}

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
	{"other protocol", raw(0, 2, 4, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 132, 255)},
	{"ARP, LLDP, MPLS", ethernet(0x0806, 0x88cc, 0x8847, 0x0800, 0x86dd)},
	{"random bytes as IP", raw(1, 6, 17, 58)},
}

// loopbackLike is the loopback address of the same family, with the same port.
func loopbackLike(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4() {
		return addrPort(127, 0, 0, 1, a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
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
