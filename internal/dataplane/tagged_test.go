// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// vlanLinks are the numbers of VLAN interfaces. Not every kernel has VLANs, and the
// datapath sends by none of them.
type vlanLinks struct {
	ten, twenty, inner, elsewhere int
}

var standIns = vlanLinks{ten: 110, twenty: 111, inner: 112, elsewhere: 113}

// on returns a port whose driver runs the program, and VLANs on it: 10, 20 and, in
// service VLAN 100, 30.
func (v vlanLinks) on(port int, mac net.HardwareAddr) []Interface {
	of := func(index, port int, tags ...Tag) Interface {
		return Interface{Index: index, MAC: mac, MTU: 1500, VLAN: VLAN{Port: port, Tags: tags}}
	}
	return []Interface{
		{Index: port, MAC: mac, MTU: 1500, Mode: Native},
		of(v.ten, port, Tag{ID: 10}),
		of(v.twenty, port, Tag{ID: 20}),
		of(v.inner, port, Tag{ID: 100, Service: true}, Tag{ID: 30}),
		of(v.elsewhere, v.ten, Tag{ID: 40}), // not a port of the program's
	}
}

// to says by which interface real servers are reached: 11 is on VLAN 20, 12 on the
// inner one, others on none.
func (v vlanLinks) to(rip netip.Addr, port int) int {
	return cmp.Or(map[byte]int{11: v.twenty, 12: v.inner}[numberOf(rip)], port)
}

// newTaggedBench has the program run in the driver of a port with VLANs.
func newTaggedBench(t *testing.T, lines ...string) *bench {
	t.Helper()
	b := newBench(t, lines...)
	if err := b.SetInterfaces(standIns.on(loopback, directorMAC)); err != nil {
		t.Fatal(err)
	}
	for _, rip := range b.RealServers() {
		hop := hopTo(rip)
		hop.Interface = standIns.to(rip, loopback)
		b.SetNextHop(rip, hop)
	}
	return b
}

// untagged is what a frame of IPv4 has in place of tags.
const untagged = "0800"

// tagged puts tags, written in hexadecimal as on the wire, into a frame.
func tagged(t *testing.T, f []byte, tags string) []byte {
	t.Helper()
	if tags == untagged {
		return f
	}
	bytes, err := hex.DecodeString(tags)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Insert(slices.Clone(f), 12, bytes...)
}

// sendRaw sends a frame and returns what the program answered and left of it.
func (b *bench) sendRaw(frame []byte) (action uint32, left []byte) {
	b.t.Helper()
	r := runner{fd: uint32(b.program.FD())}
	action, left, err := r.packet(frame, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return action, left
}

// checkFrame looks whether a frame was sent with these tags, and returns its packet.
func checkFrame(t *testing.T, action uint32, left []byte, to net.HardwareAddr, tags string) []byte {
	t.Helper()
	if action != xdpTX {
		t.Fatalf("action %d, want %d", action, xdpTX)
	}
	if !bytes.Equal(left[:6], to) {
		t.Errorf("sent to %s, want %s", net.HardwareAddr(left[:6]), to)
	}
	if got := hex.EncodeToString(left[12 : 12+len(tags)/2]); got != tags {
		t.Errorf("tags %s, want %s", got, tags)
	}
	if tags == untagged {
		return left[12:]
	}
	return left[12+len(tags)/2:]
}

// A request leaves with the tags of its real server's VLAN, the reply with those of
// the client's.
func TestTagged(t *testing.T) {
	const toClient, toServer, toInner = "8100000a", "81000014", "88a800648100001e"
	for _, test := range []struct {
		name, rip, in, want string
	}{
		{"other VLAN", "192.168.1.11", toClient, toServer},
		{"two tags", "192.168.1.12", toClient, toInner},
		{"none", "192.168.1.13", toClient, untagged},
		{"from none", "192.168.1.11", untagged, toServer},
		{"from two tags", "192.168.1.11", toInner, toServer},
		{"back by the same", "192.168.1.11", toServer, toServer},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newTaggedBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r "+test.rip+":80 -m")
			rip := netip.MustParseAddrPort(test.rip + ":80")
			mac := serverMAC(numberOf(rip.Addr()))
			action, left := b.sendRaw(tagged(t, frame(clientMAC, tcp(client, vip, "S")), test.in))
			packet := checkFrame(t, action, left, mac, test.want)
			if got := netip.AddrFrom4([4]byte(packet[2+16:])); got != rip.Addr() {
				t.Errorf("sent to %s, want %s", got, rip.Addr())
			}
			action, left = b.sendRaw(tagged(t, frame(mac, tcp(rip, client, "SA")), test.want))
			packet = checkFrame(t, action, left, clientMAC, test.in)
			if got := netip.AddrFrom4([4]byte(packet[2+12:])); got != vip.Addr() {
				t.Errorf("from %s, want %s", got, vip.Addr())
			}
		})
	}
}

// The other methods and IPv6 go the same ways.
func TestTaggedMethods(t *testing.T) {
	vip6, client6 := netip.MustParseAddrPort("[2001:db8::80]:80"), netip.MustParseAddrPort("[2001:db8:c::5]:40000")
	for _, test := range []struct {
		name, service, server string
		from, to              netip.AddrPort
		kind                  uint16
	}{
		{"DR", "10.0.0.80:80", "192.168.1.11 -g", client, vip, 0x0800},
		{"TUN", "10.0.0.80:80", "192.168.1.11 -i", client, vip, 0x0800},
		{"NAT, IPv6", "[2001:db8::80]:80", "[2001:db8:1::11]:80 -m", client6, vip6, 0x86dd},
		{"DR, IPv6", "[2001:db8::80]:80", "[2001:db8:1::11]:80 -g", client6, vip6, 0x86dd},
		{"IPv6 in IPv4", "[2001:db8::80]:80", "192.168.1.11 -i", client6, vip6, 0x0800},
		{"IPv4 in IPv6", "10.0.0.80:80", "[2001:db8:1::11]:80 -i", client, vip, 0x86dd},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newTaggedBench(t, "-A -t "+test.service+" -s rr", "-a -t "+test.service+" -r "+test.server)
			action, left := b.sendRaw(tagged(t, frame(clientMAC, tcp(test.from, test.to, "S")), "8100000a"))
			packet := checkFrame(t, action, left, serverMAC(11), "81000014")
			if kind := binary.BigEndian.Uint16(packet); kind != test.kind {
				t.Errorf("Ethernet type %04x, want %04x", kind, test.kind)
			}
		})
	}
}

// What is answered goes back to the VLAN that it came from.
func TestTaggedAnswers(t *testing.T) {
	b := newTaggedBench(t, "-A -t 10.0.0.80:80 -s rr")
	action, left := b.sendRaw(tagged(t, frame(clientMAC, tcp(client, vip, "S")), "8100000a"))
	packet := checkFrame(t, action, left, clientMAC, "8100000a")
	if packet[2+9] != 1 || packet[2+20] != 3 {
		t.Errorf("sent %x, want port unreachable", packet)
	}
}

// Frames of VLANs that the host does not have, and of those that only look tagged,
// stay as they are.
func TestTaggedPass(t *testing.T) {
	b := newTaggedBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	syn := frame(clientMAC, tcp(client, vip, "S"))
	stranger := frame(clientMAC, tcp(client, netip.AddrPortFrom(vip.Addr(), 81), "S"))
	for _, test := range []struct {
		name  string
		frame []byte
	}{
		{"unknown VLAN", tagged(t, syn, "8100000b")},
		{"service VLAN of that number", tagged(t, syn, "88a8000a")},
		{"unknown VLAN inside", tagged(t, syn, "8100000a81000014")},
		{"VLAN outside alone", tagged(t, syn, "88a80064")},
		{"tags in the other order", tagged(t, syn, "8100001e88a80064")},
		{"of a port without a program", tagged(t, syn, "81000028")},
		{"three tags", tagged(t, syn, "88a800648100001e8100000a")},
		{"no service", tagged(t, stranger, "8100000a")},
		{"no service, priority alone", tagged(t, stranger, "81006000")},
		{"no service, two tags, priority", tagged(t, stranger, "88a8e0648100601e")},
		{"not IP", tagged(t, append(slices.Clone(syn[:12]), 0x08, 0x06, 1, 2, 3, 4), "8100000a")},
		{"lying type", tagged(t, append(slices.Concat(syn[:12], []byte{0x86, 0xdd}), syn[14:]...), "8100000a")},
		{"nothing behind the tag", slices.Concat(syn[:12], []byte{0x81, 0x00, 0x00, 0x0a, 0x08, 0x00})},
		{"half a tag", slices.Concat(syn[:12], []byte{0x81, 0x00})},
		{"half a second tag", slices.Concat(syn[:12], []byte{0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00})},
	} {
		t.Run(test.name, func(t *testing.T) {
			action, left := b.sendRaw(test.frame)
			if action != xdpPass || !bytes.Equal(left, test.frame) {
				t.Errorf("action %d, left\n%x, want it passed as it was\n%x", action, left, test.frame)
			}
		})
	}
}

// A tag without a VLAN tells a priority alone: the frame is the port's own.
func TestTaggedPriority(t *testing.T) {
	b := newTaggedBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.13:80 -m")
	for _, tags := range []string{"81006000", "8100a0008100000a", "8100000a81006000"} {
		syn := tcp(netip.AddrPortFrom(client.Addr(), uint16(1000+len(tags))), vip, "S")
		action, left := b.sendRaw(tagged(t, frame(clientMAC, syn), tags))
		checkFrame(t, action, left, serverMAC(13), untagged)
	}
}
