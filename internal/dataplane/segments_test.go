// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"net/netip"
	"testing"
)

// A NAT real server tells clients in the answer to their SYN how large segments it
// takes. Behind fronts it tells no more than what their tunnels hold.
func TestFrontsSegments(t *testing.T) {
	nop, mss1460, mss1200, mss1420, mss1400 := []byte{1, 1, 1, 1}, []byte{2, 4, 0x05, 0xb4}, []byte{2, 4, 0x04, 0xb0}, []byte{2, 4, 0x05, 0x8c}, []byte{2, 4, 0x05, 0x78}
	scale := []byte{1, 3, 3, 7}
	b := newInner(t, "-m")
	for _, family := range []struct {
		vip, client, server string
		most                []byte
	}{
		{"10.0.0.80:80", "172.16.0.5:4000", "192.168.1.21:80", mss1420},
		{"[2001:db8::80]:80", "[2001:db8:c::5]:4000", "[2001:db8:1::21]:80", mss1400},
	} {
		vip, client, server := netip.MustParseAddrPort(family.vip), netip.MustParseAddrPort(family.client), netip.MustParseAddrPort(family.server)
		for _, test := range []struct {
			name          string
			flags         string
			options, want []byte
			fronts        []netip.Addr
			limits        [2]uint16
		}{
			{"larger", "SA", mss1460, family.most, []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"larger, and more", "SA", append(mss1460, scale...), append(family.most, scale...), []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"smaller", "SA", mss1200, mss1200, []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"equal", "SA", family.most, family.most, []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"not said first", "SA", append(nop, mss1460...), append(nop, mss1460...), []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"not said", "SA", nil, nil, []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"no answer to a SYN", "A", mss1460, mss1460, []netip.Addr{directorAddress}, [2]uint16{1420, 1400}},
			{"no limit known", "SA", mss1460, mss1460, []netip.Addr{directorAddress}, [2]uint16{}},
			{"no fronts", "SA", mss1460, mss1460, nil, [2]uint16{1420, 1400}},
		} {
			t.Run(test.name+" "+family.vip, func(t *testing.T) {
				b.t = t
				b.front(test.fronts...)
				b.SetFrontSegments(test.limits[0], test.limits[1])
				b.send(clientMAC, tcp(client, vip, "S"))
				o := b.send(serverMAC(21), withSegmentOptions(tcp(server, client, test.flags), test.options...))
				want := withSegmentOptions(tcp(vip, client, test.flags), test.want...)
				segment := headerOf(want)
				if o.verdict != "masq-out" || broken(o.ip) != "" || !bytes.Equal(o.ip[segment:], want[segment:]) {
					t.Errorf("%s %s, %x, want %x", o.verdict, broken(o.ip), o.ip[segment:], want[segment:])
				}
				b.clearConns()
			})
		}
	}
}

// What stands behind the packet in its frame is no option of it, even if its header
// says so.
func TestFrontsSegmentsBehindThePacket(t *testing.T) {
	b := newInner(t, "-m")
	server := netip.MustParseAddrPort("192.168.1.21:80")
	segment := tcp(server, client, "SA")
	segment[20+12] = 6 << 4 // data offset, with an option
	padded := frame(serverMAC(21), append(segment, 2, 4, 0x05, 0xb4))
	answer := func(most uint16) outcome {
		b.front(directorAddress)
		b.SetFrontSegments(most, most)
		b.send(clientMAC, tcp(client, netip.MustParseAddrPort("10.0.0.80:80"), "S"))
		defer b.clearConns()
		return b.sendFrame(padded)
	}
	limited, unlimited := answer(1420), answer(0)
	if unlimited.verdict != "masq-out" || !bytes.Equal(limited.ip, unlimited.ip) {
		t.Errorf("%s %x, want %s %x", limited.verdict, limited.ip, unlimited.verdict, unlimited.ip)
	}
}
