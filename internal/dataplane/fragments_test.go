// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// inFragments makes fragments of a packet, at the offsets given.
func inFragments(packet []byte, id uint16, at ...int) (fragments [][]byte) {
	headers := 20
	if packet[0]>>4 == 6 {
		headers = 40
	}
	rest, from := packet[headers:], 0
	for _, end := range append(at, len(rest)) {
		fragments = append(fragments, fragment(packet, id, from, rest[from:end], end < len(rest)))
		from = end
	}
	return fragments
}

// fragment is one of a packet: so many bytes from an offset on.
func fragment(packet []byte, id uint16, offset int, payload []byte, more bool) []byte {
	if packet[0]>>4 == 4 {
		field := uint16(offset / 8)
		if more {
			field |= 0x2000
		}
		ip := ipv4(netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:])), packet[9], payload)
		binary.BigEndian.PutUint16(ip[4:], id)
		binary.BigEndian.PutUint16(ip[6:], field)
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
		return ip
	}
	header := []byte{packet[6], 0, byte(offset >> 8), byte(offset), 0, 0, byte(id >> 8), byte(id)}
	if more {
		header[3] |= 1
	}
	return ipv6(netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:])), 44, slices.Concat(header, payload))
}

// whole puts fragments that came in order together again.
func whole(fragments [][]byte) []byte {
	first := fragments[0]
	var payload []byte
	if first[0]>>4 == 4 {
		for _, f := range fragments {
			payload = append(payload, f[20:]...)
		}
		return ipv4(netip.AddrFrom4([4]byte(first[12:])), netip.AddrFrom4([4]byte(first[16:])), first[9], payload)
	}
	for _, f := range fragments {
		payload = append(payload, f[48:]...)
	}
	return ipv6(netip.AddrFrom16([16]byte(first[8:])), netip.AddrFrom16([16]byte(first[24:])), first[40], payload)
}

// sendAll sends fragments and returns what left, without tunnel headers.
func (b *bench) sendAll(from net.HardwareAddr, verdict string, fragments [][]byte) (sent [][]byte) {
	b.t.Helper()
	for i, f := range fragments {
		o := b.send(from, f)
		if o.verdict != verdict || o.mac == nil {
			b.t.Errorf("fragment %d of %d: %s, sent to %s", i+1, len(fragments), o.verdict, o.mac)
			return [][]byte{f}
		}
		if verdict == "tunnel" {
			outer := 20
			if o.ip[0]>>4 == 6 {
				outer = 40
			}
			o.ip = o.ip[outer:]
		}
		sent = append(sent, o.ip)
	}
	return sent
}

// All fragments of a packet go one way, and make one packet there with a right
// checksum; it counts once. So do those of a NAT real server's answer.
func TestFragmentsFollowTheFirst(t *testing.T) {
	for _, test := range []struct{ vip, rip, client, method, port, verdict string }{
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-m", "8080", "masq-in"},
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-g", "53", "route"},
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-i", "53", "tunnel"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-m", "8080", "masq-in"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-g", "53", "route"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-i", "53", "tunnel"},
		{"10.0.0.80", "[2001:db8:1::11]", "172.16.0.5", "-i", "53", "tunnel"},
	} {
		t.Run(test.vip+" "+test.method+" "+test.rip, func(t *testing.T) {
			vip, rip := netip.MustParseAddrPort(test.vip+":53"), netip.MustParseAddrPort(test.rip+":"+test.port)
			from := netip.AddrPortFrom(netip.MustParseAddr(test.client), 4000)
			b := newBench(t, "-A -u "+vip.String()+" -s rr", "-a -u "+vip.String()+" -r "+rip.String()+" "+test.method)
			datagram := udp(from, vip, bytes.Repeat([]byte("lvsx"), 30)...)
			for id := range 2 { // the second meets the connection
				got := whole(b.sendAll(clientMAC, test.verdict, inFragments(datagram, uint16(id), 32, 64)))
				src, dst := endpoints(got)
				want := vip
				if test.method == "-m" {
					want = rip
				}
				if broken(got) != "" || src != from || dst != want || len(got) != len(datagram) {
					t.Errorf("%s from %s to %s, %d bytes", broken(got), src, dst, len(got))
				}
			}
			s, err := b.Service(ipvs.Key{Protocol: ipvs.UDP, VIP: vip})
			if err != nil || s.Stats.InPkts != 2 || s.Stats.Conns != 1 {
				t.Errorf("counted %+v, %v", s.Stats, err)
			}
			if test.method != "-m" {
				return
			}
			answer := udp(rip, from, bytes.Repeat([]byte("xsvl"), 30)...)
			got := whole(b.sendAll(serverMAC(11), "masq-out", inFragments(answer, 7, 8, 64)))
			src, dst := endpoints(got)
			if broken(got) != "" || src != vip || dst != from {
				t.Errorf("answer: %s from %s to %s", broken(got), src, dst)
			}
		})
	}
}

// Bytes of all fragments count as the kernel counts the packet that it makes of
// them.
func TestFragmentsCount(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -m")
	datagram := udp(client, dns, make([]byte, 100)...)
	b.sendAll(clientMAC, "masq-in", inFragments(datagram, 1, 48, 64, 96))
	b.sendAll(serverMAC(11), "masq-out", inFragments(udp(netip.MustParseAddrPort("192.168.1.11:53"), client, make([]byte, 100)...), 1, 48))
	s, err := b.Service(ipvs.Key{Protocol: ipvs.UDP, VIP: dns})
	size := uint64(len(datagram))
	if want := (ipvs.Stats{Conns: 1, InPkts: 1, InBytes: size, OutPkts: 1, OutBytes: size}); err != nil || s.Stats != want {
		t.Errorf("counted %+v, want %+v, %v", s.Stats, want, err)
	}
}

// A fragment whose first one is unknown, or was long ago, is the kernel's.
func TestFragmentsWithoutFirst(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -g")
	f := inFragments(udp(client, dns, make([]byte, 100)...), 1, 64)
	other := inFragments(udp(client, dns, make([]byte, 100)...), 2, 64)
	expect := func(what string, packet []byte, verdict string) {
		t.Helper()
		if o := b.send(clientMAC, packet); o.verdict != verdict {
			t.Errorf("%s: %s, want %s", what, o.verdict, verdict)
		}
	}
	expect("before the first", f[1], "fragment")
	expect("first", f[0], "route")
	expect("another packet's", other[1], "fragment")
	expect("after the first", f[1], "route")
	expect("once more", f[1], "route")
	b.pass(fragmentLife - time.Second)
	expect("late", f[1], "route")
	b.pass(2 * time.Second)
	expect("too late", f[1], "fragment")
	expect("to no service", inFragments(udp(client, netip.MustParseAddrPort("10.0.0.80:54"), make([]byte, 100)...), 3, 64)[0], "not-ours")
	expect("after it", inFragments(udp(client, netip.MustParseAddrPort("10.0.0.80:54"), make([]byte, 100)...), 3, 64)[1], "fragment")
	b.apply("-d -u 10.0.0.80:53 -r 192.168.1.11:53")
	expect("first, without the server", f[0], "destination-gone")
	expect("after it", f[1], "destination-gone")
}

// What no honest host sends is dropped, and takes what came before with it.
func TestBadFragments(t *testing.T) {
	for _, family := range []string{"10.0.0.80", "[2001:db8::80]"} {
		t.Run(family, func(t *testing.T) {
			vip := netip.MustParseAddrPort(family + ":80")
			from, rip := client, "192.168.1.11:80"
			if vip.Addr().Is6() {
				from, rip = netip.MustParseAddrPort("[2001:db8:c::5]:4000"), "[2001:db8:1::11]:80"
			}
			b := newBench(t, "-A -t "+vip.String()+" -s rr", "-a -t "+vip.String()+" -r "+rip+" -g")
			segment := tcp(from, vip, "S", make([]byte, 100)...)
			payload := make([]byte, 64)
			for what, f := range map[string][]byte{
				"a cut header":         fragment(segment, 1, 0, segment[len(segment)-120:][:16], true),
				"over the header":      fragment(segment, 1, 8, payload, false),
				"an end between units": fragment(segment, 1, 64, payload[:60], true),
				"nothing":              fragment(segment, 1, 64, nil, false),
				"beyond what can be":   fragment(segment, 1, 65528, payload[:8], false),
				"beyond, and more":     fragment(segment, 1, 65528, payload[:16], true),
			} {
				if o := b.send(clientMAC, f); o.verdict != "bad-fragment" || o.action != xdpDrop {
					t.Errorf("%s: %s", what, o.verdict)
				}
			}
			f := inFragments(segment, 2, 64)
			b.sendAll(clientMAC, "route", f)
			if o := b.send(clientMAC, fragment(segment, 2, 56, payload, false)); o.verdict != "bad-fragment" {
				t.Errorf("over the first: %s", o.verdict)
			}
			if o := b.send(clientMAC, f[1]); o.verdict != "fragment" {
				t.Errorf("after one that was over the first: %s", o.verdict)
			}
		})
	}
}

// A packet in one piece that says it is a fragment is a packet (RFC 6946).
func TestAtomicFragment(t *testing.T) {
	vip := netip.MustParseAddrPort("[2001:db8::80]:53")
	b := newBench(t, "-A -u [2001:db8::80]:53 -s rr", "-a -u [2001:db8::80]:53 -r [2001:db8:1::11]:8080 -m")
	datagram := udp(netip.MustParseAddrPort("[2001:db8:c::5]:4000"), vip, 'x')
	o := b.send(clientMAC, fragment(datagram, 1, 0, datagram[40:], false))
	if _, dst := endpoints(o.ip); o.verdict != "masq-in" || broken(o.ip) != "" || dst.Port() != 8080 {
		t.Errorf("%s, %s, to %s", o.verdict, broken(o.ip), dst)
	}
}

// Fragments of a one-packet service's datagram go to one server, though the next
// datagram goes to another.
func TestFragmentsOfOnePacket(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr -o",
		"-a -u 10.0.0.80:53 -r 192.168.1.11:8080 -m", "-a -u 10.0.0.80:53 -r 192.168.1.12:8080 -m")
	var to []string
	for id := range 2 {
		for _, f := range inFragments(udp(client, dns, make([]byte, 100)...), uint16(id), 32, 64) {
			o := b.send(clientMAC, f)
			to = append(to, o.mac.String()[15:])
		}
	}
	if got := strings.Join(to, " "); got != "12 12 12 11 11 11" {
		t.Errorf("sent to %s", got)
	}
}

// Only a first fragment is answered (RFC 1122, section 3.2.2).
func TestFragmentsAreNotAnswered(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -g")
	f := inFragments(udp(client, dns, make([]byte, 3000)...), 1, 64)
	b.sendAll(clientMAC, "route", f[:1])
	if o := b.send(clientMAC, withTTL(f[1], 1)); o.verdict != "fragment" {
		t.Errorf("with TTL 1: %s", o.verdict)
	}
	f[1][6] |= 0x40
	f[1][10], f[1][11] = 0, 0
	binary.BigEndian.PutUint16(f[1][10:], checksum(f[1][:20]))
	if o := b.send(clientMAC, f[1]); o.verdict != "needs-fragmenting" {
		t.Errorf("too big: %s", o.verdict)
	}
}

// otherFragments are packets with which the kernel, which puts fragments together,
// does something else.
var otherFragments = map[string]string{
	"out of order":                 "what comes before its first fragment is not kept",
	"atomic fragment":              "the needless header is left where it is",
	"hop-by-hop option before udp": "the kernel's IPVS does not look behind it",
}

// What the kernel's IPVS made of fragments, packet by packet.
func TestFragmentRecordings(t *testing.T) {
	for _, r := range recordings(t, "fragments") {
		t.Run(r.Name, func(t *testing.T) {
			b := newBench(t, r.Setup...)
			var sent []outcome
			var want exchange
			for _, e := range r.Exchanges {
				if e.In == nil {
					continue
				}
				packet, part, _ := strings.Cut(e.Label, ": ")
				from := clientMAC
				if e.In.Side == "server" {
					from = serverMAC(11)
				}
				if o := b.send(from, unhex(t, e.In.Hex)); o.mac != nil {
					sent = append(sent, o)
				}
				want.In, want.Out = e.In, append(want.Out, e.Out...)
				if len(e.Out) == 0 && part != "" && len(sent) > 0 && part != "last" {
					continue // the rest comes
				}
				reason, other := otherFragments[packet]
				if wrong := differ(t, want, sent); (wrong != "") != other && len(want.Out) > 0 {
					t.Errorf("%s: %q, though %q", packet, wrong, reason)
				}
				sent, want.Out = nil, nil
			}
		})
	}
}

// differ compares what was sent, in order.
func differ(t *testing.T, want exchange, sent []outcome) string {
	t.Helper()
	if len(want.Out) != len(sent) {
		return "not as many"
	}
	for i, o := range sent {
		if to := unhex(t, want.Out[i].Hex); to[0]>>4 == 6 && to[6] == 44 {
			copy(o.ip[44:48], to[44:48]) // the kernel's fragments get an id of their own
		}
		if wrong := want.compare(t, i, o.ip); wrong != "" {
			return wrong
		}
		if o.mac.String() != want.Out[i].DstMAC {
			return fmt.Sprintf("sent to %s, want %s", o.mac, want.Out[i].DstMAC)
		}
	}
	return ""
}
