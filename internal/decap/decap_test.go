// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

const (
	xdpDrop = 1
	xdpPass = 2
)

var (
	director = netip.MustParseAddr("10.0.0.1")
	rip      = netip.MustParseAddr("10.0.0.2")
	vip      = netip.MustParseAddr("192.0.2.1")
	client   = netip.MustParseAddr("198.51.100.7")
)

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name    string
		packet  func(p *packet)
		verdict string
		action  uint32
		tos     uint8 // of what is unwrapped
	}{
		{name: "tunnel packet", packet: func(*packet) {}, verdict: "unwrapped", action: xdpPass},
		{name: "padded frame", packet: func(p *packet) { p.padding = 20 }, verdict: "unwrapped", action: xdpPass},
		{name: "plain packet", packet: func(p *packet) { p.outer = nil }, verdict: "not-tunnel", action: xdpPass},
		{name: "not IPv4", packet: func(p *packet) { p.ethernet.EthernetType = layers.EthernetTypeARP }, verdict: "not-tunnel", action: xdpPass},
		{name: "frame ends in outer header", packet: func(p *packet) { p.cut = 14 + 19 }, verdict: "not-tunnel", action: xdpPass},
		{name: "to another machine", packet: func(p *packet) { p.outer.DstIP = net.IP{10, 0, 0, 9} }, verdict: "not-ours", action: xdpPass},
		{name: "outer options", packet: func(p *packet) { p.outer.Options = []layers.IPv4Option{{OptionType: 1}} }, verdict: "outer-options", action: xdpDrop},
		{name: "outer checksum", packet: func(p *packet) { p.spoil(14 + 10) }, verdict: "outer-checksum", action: xdpDrop},
		{name: "outer first fragment with all inside", packet: func(p *packet) { p.outer.Flags = layers.IPv4MoreFragments }, verdict: "bad-fragment", action: xdpDrop},
		{name: "outer later fragment", packet: func(p *packet) { p.outer.FragOffset = 100 }, verdict: "outer-fragment", action: xdpDrop},
		{name: "stranger", packet: func(p *packet) { p.outer.SrcIP = net.IP{10, 0, 0, 3} }, verdict: "untrusted", action: xdpDrop},
		{name: "frame ends in inner packet", packet: func(p *packet) { p.cut = 14 + 20 + 30 }, verdict: "malformed", action: xdpDrop},
		{name: "frame ends in inner header", packet: func(p *packet) { p.cut = 14 + 20 + 10 }, verdict: "malformed", action: xdpDrop},
		{name: "inner is not version 4", packet: func(p *packet) { p.inner.Version = 6 }, verdict: "malformed", action: xdpDrop},
		{name: "inner header too short", packet: func(p *packet) { p.set(14+20, 0x44) }, verdict: "malformed", action: xdpDrop},
		{name: "inner longer than outer", packet: func(p *packet) { p.set(14+20+2, 0x7f) }, verdict: "malformed", action: xdpDrop},
		{name: "inner shorter than its header", packet: func(p *packet) { p.set(14+20+3, 19) }, verdict: "malformed", action: xdpDrop},
		{name: "tunnel in tunnel", packet: func(p *packet) { p.inner.Protocol = layers.IPProtocolIPv4 }, verdict: "nested", action: xdpDrop},
		{name: "GRE in tunnel", packet: func(p *packet) { p.inner.Protocol = layers.IPProtocolGRE }, verdict: "nested", action: xdpDrop},
		{name: "first fragment inside", packet: func(p *packet) { p.inner.Flags = layers.IPv4MoreFragments }, verdict: "unwrapped", action: xdpPass},
		{name: "later fragment inside", packet: func(p *packet) { p.inner.FragOffset = 185 }, verdict: "unwrapped", action: xdpPass},
		{name: "overwriting fragment inside", packet: func(p *packet) { p.inner.FragOffset = 1 }, verdict: "inner-fragment", action: xdpDrop},
		{name: "endless fragment inside", packet: func(p *packet) { p.inner.FragOffset = 8191 }, verdict: "inner-fragment", action: xdpDrop},
		{name: "GRE, which was not asked for", packet: func(p *packet) { p.outer.Protocol = layers.IPProtocolGRE }, verdict: "not-tunnel", action: xdpPass},
		{name: "not a VIP inside", packet: func(p *packet) { p.inner.DstIP = net.IP{192, 0, 2, 2} }, verdict: "not-vip", action: xdpDrop},
		{name: "congestion is carried over", packet: func(p *packet) { p.outer.TOS, p.inner.TOS = 3, 0xb9 }, verdict: "unwrapped", action: xdpPass, tos: 0xbb},
		{name: "congestion, capable by ECT(0)", packet: func(p *packet) { p.outer.TOS, p.inner.TOS = 3, 2 }, verdict: "unwrapped", action: xdpPass, tos: 3},
		{name: "congestion without ECN", packet: func(p *packet) { p.outer.TOS = 3 }, verdict: "congestion", action: xdpDrop},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := loadForTest(t)
			p := newPacket()
			test.packet(p)
			in := p.bytes(t)
			action, out, err := d.program.Test(in)
			if err != nil {
				t.Fatal(err)
			}
			if action != test.action {
				t.Errorf("action is %d, want %d", action, test.action)
			}
			if diff := cmp.Diff([]Count{{test.verdict, 1}}, nonzero(t, d)); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			want := in
			if test.verdict == "unwrapped" {
				p.outer = nil
				if test.tos != 0 {
					p.inner.TOS = test.tos
				}
				want = p.bytes(t)
			}
			if action == xdpPass && !bytes.Equal(out, want) {
				t.Errorf("packet is\n%x, want\n%x", out, want)
			}
		})
	}
}

func TestSets(t *testing.T) {
	d := loadForTest(t)
	for range 2 {
		if err := d.Add(Directors, netip.MustParseAddr("9.255.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got, err := again.Members(Directors)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"9.255.0.1", "10.0.0.1"}, texts(got)); diff != "" {
		t.Errorf("directors (-want +got):\n%s", diff)
	}
	for range 2 {
		if err := again.Delete(Directors, director); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Add(Directors, netip.MustParseAddr("2001:db8::1")); err != nil {
		t.Fatal(err)
	}
	got, err = d.Members(Directors)
	if diff := cmp.Diff([]string{"9.255.0.1", "2001:db8::1"}, texts(got)); err != nil || diff != "" {
		t.Errorf("directors: %v (-want +got):\n%s", err, diff)
	}
	if err := errors.Join(Remove(d.dir), Remove(d.dir)); err != nil {
		t.Error(err)
	}
	if _, err := Open(d.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open after removal: %v, want %v", err, os.ErrNotExist)
	}
}

func texts(addresses []netip.Addr) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}

func nonzero(t *testing.T, d *Decapsulator) []Count {
	t.Helper()
	counts, err := d.Counts()
	if err != nil {
		t.Fatal(err)
	}
	var some []Count
	for _, c := range counts {
		if c.Packets > 0 {
			some = append(some, c)
		}
	}
	return some
}

// loadForTest loads a decapsulator that knows the addresses above, pinned on a
// BPF file system of its own.
func loadForTest(t *testing.T) *Decapsulator {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d, err := Load(filepath.Join(dir, "decap"))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { d.Close() })
	if err := errors.Join(d.Add(Directors, director), d.Add(RIPs, rip), d.Add(VIPs, vip), d.AddTunnel(Tunnel{Type: ipvs.IPIP})); err != nil {
		t.Fatal(err)
	}
	return d
}

// packet is a tunnel packet in its parts; changes are byte-wise edits of the
// finished frame.
type packet struct {
	ethernet layers.Ethernet
	outer    *layers.IPv4 // nil: not in a tunnel
	inner    layers.IPv4
	payload  []byte
	padding  int
	cut      int // length of the frame, if not 0
	changes  map[int]func(byte) byte
}

func newPacket() *packet {
	return &packet{
		ethernet: layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4},
		outer:    &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolIPv4, SrcIP: director.AsSlice(), DstIP: rip.AsSlice()},
		inner:    layers.IPv4{Version: 4, TTL: 63, Protocol: layers.IPProtocolUDP, SrcIP: client.AsSlice(), DstIP: vip.AsSlice()},
		payload:  []byte("\x10\x92\x00\x50\x00\x30\x00\x00a datagram that needs no padding at all."),
		changes:  map[int]func(byte) byte{},
	}
}

func (p *packet) set(at int, value byte) { p.changes[at] = func(byte) byte { return value } }
func (p *packet) spoil(at int)           { p.changes[at] = func(b byte) byte { return b ^ 1 } }

func (p *packet) bytes(t *testing.T) []byte {
	t.Helper()
	parts := []gopacket.SerializableLayer{&p.ethernet, &p.inner, gopacket.Payload(p.payload)}
	if p.outer != nil {
		parts = append(parts[:1:1], append([]gopacket.SerializableLayer{p.outer}, parts[1:]...)...)
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, parts...); err != nil {
		t.Fatal(err)
	}
	frame := append(bytes.Clone(buffer.Bytes()), make([]byte, p.padding)...)
	for at, change := range p.changes {
		frame[at] = change(frame[at])
	}
	if p.cut != 0 {
		frame = frame[:p.cut]
	}
	return frame
}
