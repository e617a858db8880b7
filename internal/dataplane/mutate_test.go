// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// The services that mutated packets are sent to: one for each method, with NAT
// to another port, one for UDP and one without servers.
var (
	fuzzVIPs = map[string]netip.AddrPort{
		"-m": vip,
		"-i": netip.MustParseAddrPort("10.0.0.81:80"),
		"-g": netip.MustParseAddrPort("10.0.0.82:80"),
		"":   netip.MustParseAddrPort("10.0.0.83:80"),
	}
	fuzzServers = []netip.AddrPort{
		netip.MustParseAddrPort("192.168.1.11:8080"),
		netip.MustParseAddrPort("192.168.1.12:8080"),
	}
)

// mutator makes packets, valid ones and every kind of broken one.
type mutator struct {
	*rand.Rand
}

// frame returns a frame of a valid packet or of one mutated.
func (m mutator) frame() []byte {
	ip := m.packet()
	for range m.IntN(4) {
		ip = m.mutate(ip)
	}
	from := clientMAC
	if m.IntN(2) == 0 {
		from = serverMAC(11)
	}
	f := frame(from, ip)
	switch m.IntN(40) {
	case 0:
		m.flip(f)
		copy(f[6:], from) // a new connection learns from it where its client is
	case 1: // any protocol, VLAN tags too
		binary.BigEndian.PutUint16(f[12:], []uint16{0x0806, 0x86dd, 0x8100, 0x88a8, 0x0000}[m.IntN(5)])
	case 2: // Ethernet's padding
		return append(f, make([]byte, m.IntN(60))...)
	case 3:
		return m.random(m.IntN(200))
	}
	return f
}

// packet is a valid one of any kind that the datapath looks at.
func (m mutator) packet() []byte {
	c := netip.AddrPortFrom(client.Addr(), client.Port()+uint16(m.IntN(50)))
	method := []string{"-m", "-m", "-i", "-g", ""}[m.IntN(5)]
	v, s := fuzzVIPs[method], fuzzServers[m.IntN(2)]
	payload := make([]byte, []int{0, 0, 1, 7, 100, 1432, 1460, 1461, 1600}[m.IntN(9)])
	flags := []string{"S", "SA", "A", "A", "PA", "FA", "F", "R", "RA", "", "SF", "FSRPA"}[m.IntN(12)]
	either := func(src, dst netip.AddrPort) []byte {
		switch m.IntN(3) {
		case 0:
			return udp(src, dst, payload...)
		case 1:
			return tcp(src, dst, "S")
		}
		return tcp(src, dst, flags, payload...)
	}
	quote := func(ip []byte) []byte { return ip[:min(len(ip), 20+m.IntN(29))] }
	router := netip.MustParseAddr("172.16.255.1")
	kind, code := []byte{3, 3, 3, 4, 11, 5, 8, 0, 12}[m.IntN(9)], byte(m.IntN(6))
	mtu := uint16(m.IntN(1600))
	switch m.IntN(8) {
	case 0, 1, 2:
		return either(c, v)
	case 3, 4:
		return either(s, c)
	case 5: // about what the client was sent
		return icmpError(router, v.Addr(), kind, code, mtu, quote(either(v, c)))
	case 6: // about what the real server was sent
		return icmpError(s.Addr(), c.Addr(), kind, code, mtu, quote(either(c, s)))
	default: // about a tunnel packet
		quoted := ipv4(directorAddress, s.Addr(), 4, either(c, v))
		return icmpError(router, directorAddress, kind, code, mtu, quoted[:min(len(quoted), 20+m.IntN(600))])
	}
}

// mutate changes one thing, and mends the checksums half of the time so that
// the packet gets further in.
func (m mutator) mutate(ip []byte) []byte {
	if len(ip) < 20 {
		return m.random(m.IntN(64))
	}
	switch m.IntN(12) {
	case 0:
		ip = m.flip(ip)
	case 1:
		ip = ip[:m.IntN(len(ip)+1)]
	case 2:
		binary.BigEndian.PutUint16(ip[2:], uint16(m.IntN(1<<uint(1+m.IntN(16)))))
	case 3:
		ip[0] = 4<<4 | byte(m.IntN(16))
	case 4:
		ip = m.addOptions(ip)
	case 5: // any fragment
		binary.BigEndian.PutUint16(ip[6:], uint16(m.Uint32()))
	case 6:
		ip[8] = byte(m.IntN(3))
	case 7:
		martian := [][]byte{{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}, {10, 0, 0, 80}}
		copy(ip[12+4*m.IntN(2):], martian[m.IntN(len(martian))])
	case 8:
		if len(ip) >= 24 {
			binary.BigEndian.PutUint16(ip[20+2*m.IntN(2):], []uint16{0, 65535, 20, 80}[m.IntN(4)])
		}
	case 9: // any flags, any header length
		if len(ip) >= 34 {
			ip[32], ip[33] = byte(m.Uint32()), byte(m.Uint32())
		}
	case 10:
		ip[9] = []byte{1, 4, 6, 17, 41, 47, 132, byte(m.Uint32())}[m.IntN(8)]
	case 11:
		if ip[9] == 17 && len(ip) >= 28 {
			ip[26], ip[27] = 0, 0
		}
	}
	if m.IntN(2) == 0 {
		mend(ip)
	}
	return ip
}

// mend makes the checksums right that the packet claims to have.
func mend(ip []byte) {
	if len(ip) < 20 {
		return
	}
	header := int(ip[0]&15) * 4
	if header < 20 || header > len(ip) {
		return
	}
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:header]))
	end := int(binary.BigEndian.Uint16(ip[2:]))
	if ip[9] == 1 && end <= len(ip) && end >= header+8 {
		icmp := ip[header:end]
		icmp[2], icmp[3] = 0, 0
		binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	}
}

func (m mutator) flip(b []byte) []byte {
	for range 1 + m.IntN(8) {
		if len(b) > 0 {
			b[m.IntN(len(b))] ^= 1 << m.IntN(8)
		}
	}
	return b
}

func (m mutator) addOptions(ip []byte) []byte {
	words := 1 + m.IntN(10)
	if ip[0]&15 != 5 {
		return ip
	}
	longer := append(append(append([]byte{}, ip[:20]...), m.random(4*words)...), ip[20:]...)
	longer[0] = 4<<4 | byte(5+words)
	binary.BigEndian.PutUint16(longer[2:], binary.BigEndian.Uint16(ip[2:])+uint16(4*words))
	return longer
}

func (m mutator) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}
