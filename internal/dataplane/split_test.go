// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// splitter is a director between two real links, of which the tests have the
// other ends.
type splitter struct {
	bench
	clients, servers *packet.Conn
	mac              net.HardwareAddr // the director's, towards clients
}

func newSplitter(t *testing.T, mode Mode, lines ...string) *splitter {
	t.Helper()
	testenv.Need(t, testenv.TCX)
	enterNamespace(t)
	d, err := Open(Config{Connections: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s := &splitter{bench: bench{t: t, Dataplane: d}}
	in, client := addLink(t, "in", "client")
	if err := host.SetReceiveOffload("in", true); err != nil {
		t.Fatal(err)
	}
	out, server := addLink(t, "out", "server")
	if err := d.Attach(in.Index, mode); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(server.Index, Native); err != nil { // a native redirect asks for a program there
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Detach(in.Index); d.Detach(server.Index) })
	err = d.SetInterfaces([]Interface{
		{Index: in.Index, MAC: in.MAC, MTU: in.MTU, Mode: mode}, {Index: out.Index, MAC: out.MAC, MTU: out.MTU},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if out := s.ipvsadm(line); out != "" {
			t.Fatalf("ipvsadm %s: %s", line, out)
		}
	}
	for _, rip := range d.RealServers() {
		hop := NextHop{Interface: out.Index, Source: out.MAC, Neighbour: server.MAC, MTU: out.MTU, Address: directorAddress}
		if rip.Is6() {
			hop.Address = directorAddress6
		}
		d.SetNextHop(rip, hop)
	}
	s.clients, s.servers, s.mac = listen(t, client), listen(t, server), in.MAC
	return s
}

func addLink(t *testing.T, a, b string) (host.Link, host.Link) {
	t.Helper()
	if err := host.AddVeth(host.VethEnd{Name: a}, host.VethEnd{Name: b}); err != nil {
		t.Fatal(err)
	}
	var links []host.Link
	for _, name := range []string{a, b} {
		if err := host.SetUp(name); err != nil {
			t.Fatal(err)
		}
		l, err := host.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	return links[0], links[1]
}

func listen(t *testing.T, l host.Link) *packet.Conn {
	t.Helper()
	conn, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC}, packet.Raw, unix.ETH_P_ALL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// pass sends a packet and returns what arrives in fragments, put together.
func (s *splitter) pass(t *testing.T, ip []byte) []byte {
	t.Helper()
	in := frame(net.HardwareAddr{2, 0, 0, 0, 0, 7}, ip)
	copy(in, s.mac)
	if _, err := s.clients.WriteTo(in, &packet.Addr{HardwareAddr: s.mac}); err != nil {
		t.Fatal(err)
	}
	var whole []byte
	buffer := make([]byte, 4096)
	for {
		n, _, err := s.servers.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("%v; %d bytes came", err, len(whole))
		}
		head, piece, more, ours := fragmentOf(buffer[14:n], len(whole))
		if !ours {
			continue
		}
		if n > 14+1500 {
			t.Errorf("a fragment of %d bytes", n-14)
		}
		if whole == nil {
			whole = head
		}
		if whole = append(whole, piece...); !more {
			makeWhole(whole)
			return whole
		}
	}
}

// fragmentOf takes a fragment of the director's apart; those before it have so
// many bytes, their header included.
func fragmentOf(ip []byte, before int) (head, piece []byte, more, ours bool) {
	if src, _, _, _ := transportOf(ip); src != directorAddress && src != directorAddress6 {
		return nil, nil, false, false
	}
	if isIPv6Fragment(ip) {
		head = bytes.Clone(ip[:40])
		head[6] = ip[40]
		place := binary.BigEndian.Uint16(ip[42:])
		return head, ip[48 : 40+int(binary.BigEndian.Uint16(ip[4:]))], place&1 != 0, before == 0 && place < 8 || before == 40+int(place&^7)
	}
	place := int(binary.BigEndian.Uint16(ip[6:]) & 0x1fff * 8)
	head = bytes.Clone(ip[:20])
	return head, ip[20:binary.BigEndian.Uint16(ip[2:])], ip[6]&0x20 != 0, checksum(head) == 0 && (before == 0 && place == 0 || before == 20+place)
}

func makeWhole(ip []byte) {
	if ip[0]>>4 == 6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[6], ip[7], ip[10], ip[11] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
}

// What is too big for a tunnel and may be fragmented is, by the tc program
// behind XDP of both modes; and where GRO has seen the packet, which lets none
// end before its transport header, in a last piece however short.
func TestSplit(t *testing.T) {
	ways := []string{
		"192.168.1.11:80 -i", "192.168.1.11:80 -i --tun-type gre --tun-csum", "192.168.1.11:80 -i --tun-type gue --tun-port 6080 --tun-csum",
		"[2001:db8:1::11]:80 -i", "[2001:db8:1::11]:80 -i --tun-type gue --tun-port 6080 --tun-csum",
	}
	var lines []string
	for i, way := range ways {
		service := fmt.Sprintf("-u 10.0.0.80:%d", 80+i)
		lines = append(lines, "-A "+service+" -s rr", "-a "+service+" -r "+way)
	}
	for _, mode := range []Mode{Generic, Native} {
		t.Run(string(mode), func(t *testing.T) {
			s := newSplitter(t, mode, lines...)
			for i, way := range ways {
				to := netip.AddrPortFrom(vip.Addr(), uint16(80+i))
				for _, size := range []int{1472, 1453} {
					s.checkSplit(t, way, with(udp(client, to, bytes.Repeat([]byte{byte(size)}, size)...), func(ip []byte) { ip[6] = 0 }))
				}
			}
		})
	}
}

func (s *splitter) checkSplit(t *testing.T, way string, in []byte) {
	t.Helper()
	out := s.pass(t, in)
	if wrong := broken(out); wrong != "" {
		t.Errorf("%s: %s of %x", way, wrong, out[:80])
	}
	if !bytes.HasSuffix(out, in[20:]) || out[len(out)-len(in)+8] != in[8]-1 {
		t.Errorf("%s: got %d bytes\n%x, want at their end what was sent\n%x", way, len(out), out, in)
	}
}
