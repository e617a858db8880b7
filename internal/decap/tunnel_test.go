// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// loadForAll loads a decapsulator that takes every tunnel of both families.
func loadForAll(t *testing.T) *Decapsulator {
	t.Helper()
	d := loadForTest(t)
	members := map[Set][]netip.Addr{Directors: {director6}, RIPs: {rip6}, VIPs: {vip6}}
	for set, addresses := range members {
		for _, a := range addresses {
			if err := d.Add(set, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tunnel := range []Tunnel{{Type: ipvs.GRE}, {Type: ipvs.GUE, Port: guePort}} {
		if err := d.AddTunnel(tunnel); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// expect runs the program and compares verdict and outcome; want is the inner
// packet, nil if it is dropped.
func expect(t *testing.T, d *Decapsulator, in []byte, verdict string, want []byte) {
	t.Helper()
	before := counts(t, d)
	action, out, err := d.program.Test(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, after := range counts(t, d) {
		if after != before[name] && name != verdict {
			t.Errorf("verdict is %s, want %s", name, verdict)
		}
	}
	if want == nil && action != xdpDrop || want != nil && action != xdpPass {
		t.Errorf("action is %d", action)
	}
	if want == nil {
		return
	}
	if diff := cmp.Diff(hex.EncodeToString(frame(want)), hex.EncodeToString(out)); diff != "" {
		t.Errorf("packet (-want +got):\n%s", diff)
	}
}

func counts(t *testing.T, d *Decapsulator) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	for _, c := range nonzero(t, d) {
		all[c.Verdict] = c.Packets
	}
	return all
}

func TestTunnels(t *testing.T) {
	d := loadForAll(t)
	for name, e := range mixtures {
		for _, w := range wrappings {
			t.Run(name+" "+w.name, func(t *testing.T) {
				for _, text := range []string{"", "odd", strings.Repeat("longer than what is summed at once", 40)} {
					inner := datagram(e.client, e.vip, text)
					outer := w.wrap(e.from, e.to, inner)
					expect(t, d, frame(outer), "unwrapped", inner)
					if w.sum >= 0 {
						outer[len(outer)-1] ^= 0xff
						expect(t, d, frame(outer), "outer-checksum", nil)
					}
				}
			})
		}
	}
}

// Tunnels of types that were not asked for are the kernel's.
func TestOtherTunnelsAreLeftAlone(t *testing.T) {
	d := loadForAll(t)
	for _, tunnel := range []Tunnel{{Type: ipvs.IPIP}, {Type: ipvs.GRE}, {Type: ipvs.GUE, Port: guePort}} {
		if err := d.DeleteTunnel(tunnel); err != nil {
			t.Fatal(err)
		}
	}
	for name, e := range mixtures {
		for _, w := range wrappings {
			outer := w.wrap(e.from, e.to, datagram(e.client, e.vip, name))
			expect(t, d, frame(outer), "not-tunnel", outer)
		}
	}
}

func TestListTunnels(t *testing.T) {
	d := loadForAll(t)
	if err := d.AddTunnel(Tunnel{Type: ipvs.GUE, Port: 80}); err != nil {
		t.Fatal(err)
	}
	got, err := d.Tunnels()
	if err != nil {
		t.Fatal(err)
	}
	want := []Tunnel{{Type: ipvs.IPIP}, {Type: ipvs.GUE, Port: 80}, {Type: ipvs.GUE, Port: guePort}, {Type: ipvs.GRE}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tunnels (-want +got):\n%s", diff)
	}
}

func TestParseTunnel(t *testing.T) {
	for _, text := range []string{"ipip", "gre", "gue:1", "gue:65535"} {
		tunnel, err := ParseTunnel(text)
		if err != nil || tunnel.String() != text {
			t.Errorf("%s: %s, %v", text, tunnel, err)
		}
	}
	for _, text := range []string{"", "gue", "gue:", "gue:0", "gue:65536", "gue:x", "ipip:1", "vxlan"} {
		if tunnel, err := ParseTunnel(text); err == nil {
			t.Errorf("%q is %s", text, tunnel)
		}
	}
}

// Each row spoils a packet that would be taken.
func TestTunnelVerdicts(t *testing.T) {
	inner4, inner6 := datagram(client, vip, "GET /"), datagram(client6, vip6, "GET /")
	gre4 := func(words ...uint16) []byte {
		return ip(director, rip, unix.IPPROTO_GRE, append(be16(words...), inner4...))
	}
	gue4 := func(length uint16, header ...uint16) []byte {
		udp := append(be16(40000, guePort, length, 0), be16(header...)...)
		return ip(director, rip, unix.IPPROTO_UDP, append(udp, inner4...))
	}
	whole := uint16(12 + len(inner4))
	extended := func(next byte, header ...byte) []byte {
		return ip(client6, vip6, next, slices.Concat(header, inner6[40:]))
	}
	ipip6 := func(inner []byte) []byte { return ip(director6, rip6, protocol(inner), inner) }
	mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
	for _, test := range []struct {
		name    string
		packet  []byte
		verdict string
	}{
		{"GRE with a key", gre4(0x2000, unix.ETH_P_IP, 0, 0), "tunnel-header"},
		{"GRE with a sequence number", gre4(0x1000, unix.ETH_P_IP, 0, 0), "tunnel-header"},
		{"GRE of version 1", gre4(0x0001, unix.ETH_P_IP), "tunnel-header"},
		{"Ethernet in GRE", gre4(0, 0x6558), "tunnel-header"},
		{"GRE says IPv6 and has IPv4", gre4(0, unix.ETH_P_IPV6), "malformed"},
		{"GRE header cut off", ip(director, rip, unix.IPPROTO_GRE, []byte{0, 0, 8}), "malformed"},
		{"GUE control message", gue4(whole, 0x2004, 0), "tunnel-header"},
		{"GUE of variant 2", gue4(whole, 0x8004, 0), "tunnel-header"},
		{"GUE with flags", gue4(whole, 0x0004, 0x8000), "tunnel-header"},
		{"GUE with words of nothing", gue4(whole, 0x0104, 0), "tunnel-header"},
		{"GUE private flags but remcsum", gue4(whole, 0x0204, 1, 0x4000, 0, 0, 0), "tunnel-header"},
		{"GRE in GUE", gue4(whole, 0x002f, 0), "tunnel-header"},
		{"UDP longer than its packet", gue4(whole+1, 0x0004, 0), "malformed"},
		{"UDP shorter than what is inside", gue4(whole-1, 0x0004, 0), "malformed"},
		{"UDP without room for GUE", gue4(11, 0x0004, 0), "malformed"},
		{"outer IPv6 extension", ip(director6, rip6, 60, slices.Concat([]byte{41, 0, 1, 4, 0, 0, 0, 0}, inner6)), "outer-options"},
		{"outer IPv6 fragment with all inside", ip(director6, rip6, 44, slices.Concat([]byte{41, 0, 0, 1, 0, 0, 0, 1}, inner6)), "bad-fragment"},
		{"outer IPv6 fragment behind an extension", ip(director6, rip6, 60, slices.Concat([]byte{44, 0, 1, 4, 0, 0, 0, 0, 41, 0, 0, 1, 0, 0, 0, 1}, inner6)), "outer-options"},
		{"outer IPv6 extension in a fragment", ip(director6, rip6, 44, slices.Concat([]byte{60, 0, 0, 1, 0, 0, 0, 1, 41, 0, 1, 4, 0, 0, 0, 0}, inner6)), "outer-options"},
		{"outer later IPv6 fragment", ip(director6, rip6, 44, slices.Concat([]byte{41, 0, 1, 0, 0, 0, 0, 1}, inner6)), "outer-fragment"},
		{"stranger by IPv6", ip(client6, rip6, 41, inner6), "untrusted"},
		{"director's IPv4 address by IPv6", ip(mapped(director), mapped(rip), 41, inner6), "untrusted"},
		{"VIP's IPv4 address by IPv6", ipip6(datagram(client6, mapped(vip), "")), "martian"},
		{"not a VIP by IPv6", ipip6(datagram(client6, client6, "")), "not-vip"},
		{"IPv6 longer than its tunnel", ipip6(append(slices.Clone(inner6[:4]), append([]byte{0, 200}, inner6[6:]...)...)), "malformed"},
		{"from this machine", ipip6(datagram(rip6, vip6, "")), "martian"},
		{"from the VIP", ipip6(datagram(vip6, vip6, "")), "martian"},
		{"from loopback", ipip6(datagram(netip.IPv6Loopback(), vip6, "")), "martian"},
		{"from nobody", ipip6(datagram(netip.IPv6Unspecified(), vip6, "")), "martian"},
		{"from all", ipip6(datagram(netip.MustParseAddr("ff02::1"), vip6, "")), "martian"},
		{"from IPv4 loopback", ipip6(datagram(netip.MustParseAddr("127.0.0.1"), vip, "")), "martian"},
		{"from IPv4 multicast", ipip6(datagram(netip.MustParseAddr("224.0.0.5"), vip, "")), "martian"},
		{"from this network", ipip6(datagram(netip.MustParseAddr("0.0.0.1"), vip, "")), "martian"},
		{"tunnel in IPv6", ipip6(ip(client6, vip6, 41, inner6)), "nested"},
		{"tunnel behind an extension", ipip6(ip(client6, vip6, 0, slices.Concat([]byte{41, 0, 1, 4, 0, 0, 0, 0}, inner6))), "nested"},
		{"tunnel in fragments", ipip6(extended(44, 41, 0, 1, 0, 0, 0, 0, 1)), "nested"},
		{"nine extensions", ipip6(extended(60, bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 9)...)), "malformed"},
		{"overwriting IPv6 fragment", ipip6(extended(44, 17, 0, 0, 8, 0, 0, 0, 1)), "inner-fragment"},
		{"IPv6 fragment one byte too long", ipip6(ip(client6, vip6, 44, slices.Concat([]byte{17, 0, 0xff, 0xf8, 0, 0, 0, 1}, inner6[40:48]))), "inner-fragment"},
		{"IPv6 extension behind the packet", append(ipip6(ip(client6, vip6, 60, []byte{17, 1, 1, 4, 0, 0, 0, 0})), make([]byte, 40)...), "malformed"},
		{"endless IPv6 fragment", ipip6(extended(44, 17, 0, 0xff, 0xf8, 0, 0, 0, 1)), "inner-fragment"},
	} {
		t.Run(test.name, func(t *testing.T) {
			expect(t, loadForAll(t), frame(test.packet), test.verdict, nil)
		})
	}
}

func TestExtensionsInside(t *testing.T) {
	d := loadForAll(t)
	inner := datagram(client6, vip6, "GET /")
	option := []byte{60, 0, 1, 4, 0, 0, 0, 0}
	for _, packet := range [][]byte{
		ip(client6, vip6, 60, slices.Concat(bytes.Repeat(option, 7), []byte{17, 0, 1, 4, 0, 0, 0, 0}, inner[40:])),
		ip(client6, vip6, 44, slices.Concat([]byte{17, 0, 0, 1, 0, 0, 0, 1}, inner[40:])),
		ip(client6, vip6, 44, slices.Concat([]byte{60, 0, 1, 0, 0, 0, 0, 1}, inner[40:])),            // its header is in the first
		ip(client6, vip6, 44, slices.Concat([]byte{17, 0, 0xff, 0xf8, 0, 0, 0, 1}, make([]byte, 7))), // the end of the largest
	} {
		expect(t, d, frame(ip(director6, rip6, 41, packet)), "unwrapped", packet)
	}
}

// What --tun-remcsum leaves is finished: the checksum of the transport.
func TestRemoteChecksum(t *testing.T) {
	d := loadForAll(t)
	for name, e := range mixtures {
		inner := datagram(e.client, e.vip, "a text of odd length.")
		l4 := len(inner) - 8 - 21
		unfinished := slices.Clone(inner)
		binary.BigEndian.PutUint16(unfinished[l4+6:], sum(pseudoHeader(e.client, e.vip, unix.IPPROTO_UDP, len(inner)-l4)))
		for _, test := range []struct {
			start, offset uint16
			verdict       string
			want          []byte
		}{
			{uint16(l4), uint16(l4 + 6), "unwrapped", inner},
			{uint16(l4), uint16(l4 + 4), "tunnel-header", nil},
			{uint16(l4 - 2), uint16(l4 + 6), "tunnel-header", nil},
			{0, 65535, "tunnel-header", nil},
		} {
			w := wrapping{tunnel: ipvs.GUE, sum: 6, header: func(inner []byte) []byte {
				return gue(inner, be16(0x0200|uint16(protocol(inner)), 1, 0x8000, 0, test.start, test.offset))
			}}
			t.Run(name, func(t *testing.T) {
				expect(t, d, frame(w.wrap(e.from, e.to, unfinished)), test.verdict, test.want)
			})
		}
	}
}

// A sender that has left checksums to hardware is not taken for a liar.
func TestUnfinishedChecksums(t *testing.T) {
	d := loadForAll(t)
	for _, w := range wrappings {
		if w.sum < 0 {
			continue
		}
		for name, e := range mixtures {
			t.Run(name+" "+w.name, func(t *testing.T) {
				inner := datagram(e.client, e.vip, "GET /")
				outer := w.wrap(e.from, e.to, inner)
				l4 := len(inner) - 13
				pseudo := sum(pseudoHeader(e.client, e.vip, unix.IPPROTO_UDP, 13))
				binary.BigEndian.PutUint16(inner[l4+6:], pseudo)
				binary.BigEndian.PutUint16(outer[len(outer)-13+6:], pseudo)
				expect(t, d, frame(outer), "unwrapped", inner)
			})
		}
	}
}

// RFC 6040, figure 4, in all families.
func TestCongestion(t *testing.T) {
	const notECT, ect1, ect0, ce = 0, 1, 2, 3
	setECN := func(packet []byte, ecn byte) {
		if isIPv6(packet) {
			packet[1] |= ecn << 4
		} else {
			packet[1] |= ecn
			setHeaderSum(packet)
		}
	}
	d := loadForAll(t)
	for name, e := range mixtures {
		for _, test := range []struct{ outer, inner, want byte }{
			{notECT, ect0, ect0}, {ect0, ect1, ect1}, {ect1, ect0, ect1}, {ect1, notECT, notECT},
			{ce, ect0, ce}, {ce, ect1, ce}, {notECT, ce, ce}, {ect0, ce, ce},
		} {
			t.Run(name, func(t *testing.T) {
				inner, want := datagram(e.client, e.vip, ""), datagram(e.client, e.vip, "")
				setECN(inner, test.inner)
				setECN(want, test.want)
				outer := wrappings[0].wrap(e.from, e.to, inner)
				setECN(outer, test.outer)
				expect(t, d, frame(outer), "unwrapped", want)
			})
		}
		outer := wrappings[0].wrap(e.from, e.to, datagram(e.client, e.vip, ""))
		setECN(outer, ce)
		expect(t, d, frame(outer), "congestion", nil)
	}
}

// What the kernel's IPVS was recorded to send is taken apart, to the packet
// that it had got.
func TestRecordedTunnels(t *testing.T) {
	d := loadForAll(t)
	members := map[Set][]string{
		Directors: {"192.168.1.1"}, RIPs: {"192.168.1.11", "2001:db8:1::11"}, VIPs: {"10.0.0.80"},
	}
	for set, texts := range members {
		for _, text := range texts {
			if err := d.Add(set, netip.MustParseAddr(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	played := 0
	for _, kind := range []string{"ip*", "gre*", "gue*"} {
		for _, topic := range []string{"tcp", "udp"} {
			files, err := filepath.Glob("../dataplane/testdata/packets/" + kind + "-" + topic + ".json")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				t.Run(filepath.Base(file), func(t *testing.T) { played += unwrapRecorded(t, d, file) })
			}
		}
	}
	if played == 0 {
		t.Error("no recordings")
	}
}

// unwrapRecorded returns how many tunnel packets there are in a file.
func unwrapRecorded(t *testing.T, d *Decapsulator, file string) (packets int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Exchanges []struct {
			In  struct{ Hex string }
			Out []struct{ Side, Hex string }
		}
	}
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	for _, e := range recording.Exchanges {
		for _, o := range e.Out {
			out, err := hex.DecodeString(o.Hex)
			if err != nil {
				t.Fatal(err)
			}
			if o.Side != "server" {
				continue
			}
			packets++
			expect(t, d, frame(out), "unwrapped", out[len(out)-len(e.In.Hex)/2:])
		}
	}
	return packets
}
