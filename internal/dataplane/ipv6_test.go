// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
)

var (
	client6   = netip.MustParseAddrPort("[2001:db8:c::5]:40000")
	vip6      = netip.MustParseAddrPort("[2001:db8::80]:80")
	server6   = netip.MustParseAddrPort("[2001:db8:1::11]:80")
	neighbour = netip.MustParseAddrPort("[fe80::c]:40000")
)

// established6 has a TCP connection of client6, and the same service for UDP.
func established6(t *testing.T, method string) *bench {
	t.Helper()
	b := newBench(t)
	for _, proto := range []string{"-t", "-u"} {
		b.apply("-A "+proto+" "+vip6.String()+" -s rr", "-a "+proto+" "+vip6.String()+" -r "+server6.String()+" "+method)
	}
	for _, flags := range []string{"S", "A"} {
		if o := b.send(clientMAC, tcp(client6, vip6, flags)); o.mac.String() != serverMAC(11).String() {
			t.Fatalf("%s: %s", flags, o.verdict)
		}
	}
	return b
}

// unpacked is what a packet carries when it has arrived: of a tunnel the inner
// one.
func unpacked(method string, ip []byte) []byte {
	switch {
	case method != "-i":
		return ip
	case ip[0]>>4 == 4:
		return ip[20:]
	}
	return ip[40:]
}

// Whatever stands before the transport header stays there, and is looked behind.
func TestExtensionHeaders(t *testing.T) {
	const hop, routing, options = 0, 43, 60
	chain := []byte{hop, options, routing, options, routing, options, options, options}
	for _, method := range []string{"-m", "-i", "-g"} {
		b := established6(t, method)
		for count := range len(chain) + 1 {
			request := extended(tcp(client6, vip6, "PA", 'x'), chain[:count]...)
			o := b.send(clientMAC, request)
			if o.mac.String() != serverMAC(11).String() || broken(o.ip) != "" {
				t.Fatalf("%s, %d headers: %s %s", method, count, o.verdict, broken(o.ip))
			}
			got := unpacked(method, o.ip)
			want := slices.Clone(request)
			want[7]--
			if method == "-m" {
				want = withAddress6(want, 24, server6.Addr())
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s, %d headers:\ngot  %x\nwant %x", method, count, got, want)
			}
		}
		tooMany := extended(tcp(client6, vip6, "PA"), append(chain, options)...)
		if o := b.send(clientMAC, tooMany); o.verdict != "malformed" || !bytes.Equal(o.ip, tooMany) {
			t.Errorf("%s, 9 headers: %s", method, o.verdict)
		}
		sent := map[string]string{"-m": "masq-in", "-i": "tunnel", "-g": "route"}[method]
		for _, kinds := range [][]byte{{44}, {options, 44}, {44, options}} {
			whole := extended(tcp(client6, vip6, "PA"), kinds...)
			if o := b.send(clientMAC, whole); o.verdict != sent {
				t.Errorf("%s, a packet in one fragment: %s, want %s", method, o.verdict, sent)
			}
		}
	}
}

// withAddress6 changes an address and lets the TCP checksum follow.
func withAddress6(ip []byte, at int, to netip.Addr) []byte {
	ip = slices.Clone(ip)
	copy(ip[at:], to.AsSlice())
	src, dst, proto, l4 := transportOf(ip)
	check := map[byte]int{6: 16, 17: 6}[proto]
	clear(l4[check : check+2])
	binary.BigEndian.PutUint16(l4[check:], transportChecksum(src, dst, proto, l4))
	return ip
}

// A chain of headers that leads out of the packet is none.
func TestExtensionHeadersThatLie(t *testing.T) {
	b := established6(t, "-m")
	request := extended(tcp(client6, vip6, "PA"), 60, 60)
	for at, value := range map[int]byte{41: 200, 49: 255, 40: 43, 5: 8} {
		lying := slices.Clone(request)
		lying[at] = value
		o := b.send(clientMAC, lying)
		if at != 40 && (o.verdict != "malformed" || !bytes.Equal(o.ip, lying)) {
			t.Errorf("byte %d is %d: %s", at, value, o.verdict)
		}
	}
	for length := 40; length < len(request); length++ {
		cut := slices.Clone(request[:length])
		binary.BigEndian.PutUint16(cut[4:], uint16(length-40))
		if o := b.send(clientMAC, cut); o.verdict != "malformed" || !bytes.Equal(o.ip, cut) {
			t.Errorf("cut off at %d: %s", length, o.verdict)
		}
	}
}

// Sources that no client has; IPv4 addresses in IPv6 headers would pass for IPv4
// ones.
func TestMartians6(t *testing.T) {
	b := established6(t, "-m")
	b.apply("-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(vip.Addr().As16()), 80)
	for _, test := range []struct {
		from string
		to   netip.AddrPort
	}{
		{"::", vip6}, {"::1", vip6}, {"ff02::1", vip6}, {"2001:db8::80", vip6},
		{"::ffff:172.16.0.5", vip6}, {"::ffff:172.16.0.5", mapped}, {"2001:db8:c::5", mapped},
	} {
		from := netip.AddrPortFrom(netip.MustParseAddr(test.from), 40000)
		request := ipv6(from.Addr(), test.to.Addr(), 6, tcp(client6, vip6, "S")[40:])
		if o := b.send(clientMAC, request); o.verdict != "martian" || !bytes.Equal(o.ip, request) {
			t.Errorf("%s to %s: %s", from, test.to, o.verdict)
		}
	}
	b.checkLoads()
}

// Neighbour discovery and echoes are the kernel's, even to a VIP and from a real
// server.
func TestDiscoveryPasses(t *testing.T) {
	b := established6(t, "-m")
	for _, kind := range []byte{128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143} {
		for _, from := range []netip.Addr{client6.Addr(), server6.Addr(), netip.MustParseAddr("fe80::1"), netip.IPv6Unspecified()} {
			for _, to := range []netip.Addr{vip6.Addr(), client6.Addr(), netip.MustParseAddr("ff02::1")} {
				message := icmpError(from, to, kind, 0, 0, append(vip6.Addr().AsSlice(), 1, 1, 2, 0, 0, 0, 0, 1))
				for _, ip := range [][]byte{message, extended(message, 0)} {
					if o := b.send(clientMAC, ip); o.verdict != "unrelated" || !bytes.Equal(o.ip, ip) {
						t.Errorf("type %d from %s to %s: %s", kind, from, to, o.verdict)
					}
				}
			}
		}
	}
}

// An error follows its connection whatever headers the quoted packet has, with
// eight bytes behind them being enough.
func TestErrorsQuoteExtensionHeaders(t *testing.T) {
	b := established6(t, "-m")
	for _, kinds := range [][]byte{{}, {60}, {0, 43, 60}, {44}} {
		quoted := extended(tcp(vip6, client6, "PA"), kinds...)
		quoted = quoted[:40+8*len(kinds)+8]
		o := b.send(clientMAC, icmpError(client6.Addr(), vip6.Addr(), 1, 4, 0, quoted))
		if o.verdict != "error-in" || broken(o.ip) != "" {
			t.Fatalf("headers %d: %s %s", kinds, o.verdict, broken(o.ip))
		}
		if src, _ := endpoints(o.ip[48:]); src != server6 {
			t.Errorf("headers %d: quotes %s, want %s", kinds, src, server6)
		}
	}
	later := extended(tcp(vip6, client6, "PA"), 44)
	later[43] = 8
	if o := b.send(clientMAC, icmpError(client6.Addr(), vip6.Addr(), 1, 4, 0, later)); o.verdict != "unrelated" {
		t.Errorf("about a later fragment: %s", o.verdict)
	}
}

// What is handed over leaves as what XDP itself sends, whatever families meet.
func TestHandover6(t *testing.T) {
	for name, test := range map[string]struct {
		vip, client, rip netip.AddrPort
		method           string
	}{
		"NAT":          {vip6, client6, netip.MustParseAddrPort("[2001:db8:1::11]:8080"), "-m"},
		"DR":           {vip6, client6, server6, "-g"},
		"IPv6 in IPv6": {vip6, client6, server6, "-i"},
		"IPv4 in IPv6": {vip, client, server6, "-i"},
		"IPv6 in IPv4": {vip6, client6, server11, "-i"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, proto := range []string{"-t", "-u"} {
				b.apply("-A "+proto+" "+test.vip.String()+" -s rr", "-a "+proto+" "+test.vip.String()+" -r "+test.rip.String()+" "+test.method)
			}
			for kind, ip := range map[string][]byte{
				"SYN":      tcp(test.client, test.vip, "S"),
				"datagram": udp(test.client, test.vip, []byte("odd")...),
				"reply":    tcp(test.rip, test.client, "SA"),
			} {
				b.send(clientMAC, tcp(test.client, test.vip, "S"))
				sent := b.send(clientMAC, ip)
				b.handOver()
				over := b.send(clientMAC, ip)
				b.resetHandover()
				if sent.verdict != over.verdict || sent.mac.String() != over.mac.String() || !slices.Equal(masked(sent.ip), masked(over.ip)) {
					t.Errorf("%s: %s to %s\n%x, handed over %s to %s\n%x", kind, sent.verdict, sent.mac, sent.ip, over.verdict, over.mac, over.ip)
				}
			}
		})
	}
}

// Replies go where routing says, but to a neighbour's link-local address, which
// is another host on each link, as its request came.
func TestWayToClient6(t *testing.T) {
	b := established6(t, "-m")
	routed := net.HardwareAddr{2, 0, 0, 0, 0xff, 1}
	b.send(clientMAC, tcp(neighbour, vip6, "S"))
	b.addWay(t, "2001:db8:c::1/64", client6.Addr(), routed, 1400)
	for _, do := range []func() error{
		func() error { return host.AddNeighbour("a", neighbour.Addr(), routed) },
		func() error { return host.Sysctl("net/ipv6/conf/all/forwarding").Write(1) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	b.ForgetClientHops()
	for _, test := range []struct {
		client netip.AddrPort
		want   net.HardwareAddr
	}{{client6, routed}, {neighbour, clientMAC}} {
		o := b.send(serverMAC(11), tcp(server6, test.client, "SA"))
		if o.verdict != "masq-out" || o.mac.String() != test.want.String() || broken(o.ip) != "" {
			t.Errorf("to %s: %s to %s %s, want to %s", test.client, o.verdict, o.mac, broken(o.ip), test.want)
		}
	}
	o := b.send(serverMAC(11), tcp(server6, client6, "A", make([]byte, 1341)...))
	if o.verdict != "too-big" || o.ip[40] != 2 || binary.BigEndian.Uint32(o.ip[44:]) != 1400 || broken(o.ip) != "" {
		t.Errorf("a reply that does not fit: %s", o.verdict)
	}
}
