// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// Nested directors. The one in front is the datapath, too: what it wraps is what the
// inner one meets.

var (
	innerDIP  = netip.MustParseAddr("192.168.1.11")
	innerDIP6 = netip.MustParseAddr("2001:db8:1::11")
)

// wrapping is a client's packet and the same in a front's tunnel.
type wrapping struct {
	name           string
	plain, wrapped []byte
}

// inner is where in the wrapped packet the plain one begins.
func (n wrapping) inner() int { return len(n.wrapped) - len(n.plain) }

var frontTunnels = []string{
	"", "--tun-type gre", "--tun-type gre --tun-csum", "--tun-type gue --tun-port 6080",
	"--tun-type gue --tun-port 6080 --tun-csum", "--tun-type gue --tun-port 6080 --tun-remcsum",
}

// nests are a request in every tunnel of every family in every family.
func nests(t *testing.T) (all []wrapping) {
	t.Helper()
	b := newBench(t)
	for _, of := range []struct{ client, vip string }{
		{"172.16.0.5:4000", "10.0.0.80:80"}, {"[2001:db8:c::5]:4000", "[2001:db8::80]:80"},
	} {
		vip, client := netip.MustParseAddrPort(of.vip), netip.MustParseAddrPort(of.client)
		for _, dip := range []netip.Addr{innerDIP, innerDIP6} {
			for _, tunnel := range frontTunnels {
				b.apply("-A -t "+of.vip+" -s rr", "-a -t "+of.vip+" -r "+netip.AddrPortFrom(dip, 80).String()+" -i "+tunnel)
				request := tcp(client, vip, "S")
				o := b.send(clientMAC, request)
				if o.verdict != "tunnel" {
					t.Fatalf("the front's verdict is %s", o.verdict)
				}
				all = append(all, wrapping{of.vip + " to " + dip.String() + " " + tunnel, o.ip[len(o.ip)-len(request):], o.ip})
				b.apply("-D -t " + of.vip)
				b.clearConns()
			}
		}
	}
	return all
}

// newInner is a director behind fronts, with a service for each VIP.
func newInner(t *testing.T, method string) *bench {
	t.Helper()
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.21:80 "+method,
		"-A -t [2001:db8::80]:80 -s rr", "-a -t [2001:db8::80]:80 -r [2001:db8:1::21]:80 "+method)
	b.front(directorAddress, directorAddress6)
	if err := b.SetDIPs([]netip.Addr{innerDIP, innerDIP6}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.front() })
	return b
}

func (b *bench) front(fronts ...netip.Addr) {
	b.t.Helper()
	if err := b.SetFronts(fronts, 6080); err != nil {
		b.t.Fatal(err)
	}
}

// What comes in a tunnel is treated as if it had come without: by the first packet
// of a connection and by later ones, in each method.
func TestFrontsTunnelsAreBalanced(t *testing.T) {
	all := nests(t)
	for _, method := range []string{"-m", "-g", "-i"} {
		b := newInner(t, method)
		for _, n := range all {
			t.Run(n.name+" "+method, func(t *testing.T) {
				b.t = t
				b.throw(7)
				want := b.send(clientMAC, n.plain)
				b.clearConns()
				for range 2 {
					got := b.send(clientMAC, n.wrapped)
					if got.verdict != want.verdict || got.state != want.state || got.mac.String() != want.mac.String() {
						t.Errorf("%s, %s, to %s; without a tunnel %s, %s, to %s", got.verdict, got.state, got.mac, want.verdict, want.state, want.mac)
					}
					if diff := cmp.Diff(want.ip, got.ip); diff != "" {
						t.Errorf("packet (-without a tunnel +got):\n%s", diff)
					}
				}
				b.clearConns()
			})
		}
	}
}

// Without fronts, tunnels are the kernel's, whatever is inside.
func TestTunnelsOfNobody(t *testing.T) {
	all := nests(t)
	b := newInner(t, "-m")
	for _, test := range []struct {
		fronts []netip.Addr
		want   string
	}{
		{nil, "not-ours other-protocol"},
		{[]netip.Addr{netip.MustParseAddr("192.0.2.9")}, "untrusted"},
	} {
		b.front(test.fronts...)
		for _, n := range all {
			o := b.send(clientMAC, n.wrapped)
			if !strings.Contains(test.want, o.verdict) || o.action != xdpPass || !bytes.Equal(o.ip, n.wrapped) {
				t.Errorf("%s, fronts %v: %s", n.name, test.fronts, o.verdict)
			}
		}
	}
}

// rewrite changes an address of the packet at a place; the header's checksum follows.
func rewrite(packet []byte, at4, at6 int, address netip.Addr) {
	if packet[0]>>4 == 6 {
		a := address.As16()
		copy(packet[at6:], a[:])
		return
	}
	a := address.As4()
	copy(packet[at4:], a[:])
	resum(packet)
}

// resum makes an IPv4 header's checksum right.
func resum(packet []byte) {
	if packet[0]>>4 == 4 {
		binary.BigEndian.PutUint16(packet[10:], 0)
		binary.BigEndian.PutUint16(packet[10:], checksum(packet[:20]))
	}
}

func likewise(packet []byte, four, six string) netip.Addr {
	if packet[0]>>4 == 6 {
		return netip.MustParseAddr(six)
	}
	return netip.MustParseAddr(four)
}

// frontForgeries are what no front sends, and by which verdict it is refused.
var frontForgeries = map[string]struct {
	verdict string // empty: to the kernel as it came
	spoil   func(p []byte, inner int) []byte
}{
	"of somebody else": {"untrusted", func(p []byte, _ int) []byte {
		rewrite(p, 12, 8, likewise(p, "192.168.1.2", "2001:db8:1::2"))
		return p
	}},
	"to somebody else": {"", func(p []byte, _ int) []byte {
		rewrite(p, 16, 24, likewise(p, "192.168.1.12", "2001:db8:1::12"))
		return p
	}},
	"of a front's IPv4 address in IPv6": {"", func(p []byte, inner int) []byte {
		return inMappedIPv6(p, inner, directorAddress, innerDIP6)
	}},
	"to an IPv4 address in IPv6": {"", func(p []byte, inner int) []byte {
		return inMappedIPv6(p, inner, directorAddress6, innerDIP)
	}},
	"to no VIP": {"not-vip", func(p []byte, inner int) []byte {
		rewrite(p[inner:], 16, 24, likewise(p[inner:], "10.0.0.81", "2001:db8::81"))
		return p
	}},
	"to no service": {"not-vip", func(p []byte, inner int) []byte {
		binary.BigEndian.PutUint16(p[inner+headerOf(p[inner:])+2:], 81)
		return p
	}},
	"from the inner director": {"bad-tunnel", func(p []byte, inner int) []byte {
		rewrite(p[inner:], 12, 8, likewise(p[inner:], "192.168.1.11", "2001:db8:1::11"))
		return p
	}},
	"from the VIP": {"not-vip", func(p []byte, inner int) []byte {
		rewrite(p[inner:], 12, 8, likewise(p[inner:], "10.0.0.80", "2001:db8::80"))
		return p
	}},
	"from a martian": {"not-vip", func(p []byte, inner int) []byte {
		rewrite(p[inner:], 12, 8, likewise(p[inner:], "127.0.0.1", "::1"))
		return p
	}},
	"IPIP inside": {"nested", inside(unix.IPPROTO_IPIP)},
	"IPv6 inside": {"nested", inside(unix.IPPROTO_IPV6)},
	"GRE inside":  {"nested", inside(unix.IPPROTO_GRE)},
	"ESP inside":  {"not-vip", inside(unix.IPPROTO_ESP)},
	"cut off": {"malformed", func(p []byte, _ int) []byte { // the kernel drops such itself
		return p[:len(p)-1]
	}},
	"truncated": {"bad-tunnel", func(p []byte, _ int) []byte {
		p = p[:len(p)-1]
		claim(p, len(p))
		return p
	}},
	"longer than it is": {"bad-tunnel", func(p []byte, inner int) []byte {
		claim(p[inner:], len(p)-inner+1)
		return p
	}},
	"a fragment": {"outer-fragment", func(p []byte, inner int) []byte {
		headers := headerOf(p)
		return fragment(p, 1, 0, p[headers:headers+(len(p)-headers)&^7], true)
	}},
}

// inMappedIPv6 puts the packet inside into IPv6, from and to addresses of which one is
// IPv4's.
func inMappedIPv6(p []byte, inner int, from, to netip.Addr) []byte {
	kind := byte(unix.IPPROTO_IPIP)
	if p[inner]>>4 == 6 {
		kind = unix.IPPROTO_IPV6
	}
	mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
	return ipv6(mapped(from), mapped(to), kind, p[inner:])
}

func headerOf(packet []byte) int {
	if packet[0]>>4 == 6 {
		return 40
	}
	return 20
}

// claim says how long an IP packet is.
func claim(packet []byte, length int) {
	if packet[0]>>4 == 6 {
		binary.BigEndian.PutUint16(packet[4:], uint16(length-40))
		return
	}
	binary.BigEndian.PutUint16(packet[2:], uint16(length))
	resum(packet)
}

func inside(protocol byte) func(outer []byte, inner int) []byte {
	return func(p []byte, inner int) []byte {
		if p[inner]>>4 == 6 {
			p[inner+6] = protocol
		} else {
			p[inner+9] = protocol
			resum(p[inner:])
		}
		return p
	}
}

// A tunnel is a way around address filters: nothing comes out of one that is not a
// front's, for a service.
func TestForgedFronts(t *testing.T) {
	all := nests(t)
	b := newInner(t, "-m")
	for name, forgery := range frontForgeries {
		t.Run(name, func(t *testing.T) {
			b.t = t
			for _, n := range all {
				if strings.Contains(n.name, "csum") { // which would be wrong
					continue
				}
				p := forgery.spoil(bytes.Clone(n.wrapped), n.inner())
				o := b.send(clientMAC, p)
				wantAction := uint32(xdpDrop)
				if forgery.verdict == "" || fateNamed(forgery.verdict) == Passed {
					wantAction = xdpPass
				}
				if o.action != wantAction || forgery.verdict != "" && o.verdict != forgery.verdict {
					t.Errorf("%s: %s, action %d", n.name, o.verdict, o.action)
				}
				if o.action == xdpPass && !bytes.Equal(o.ip, p) {
					t.Errorf("%s: the kernel gets\n%x of\n%x", n.name, o.ip, p)
				}
			}
		})
	}
}

// What a switch floods for another host is left alone.
func TestFrontsOfOtherHosts(t *testing.T) {
	all := nests(t)
	b := newInner(t, "-m")
	for _, n := range all {
		f := frame(clientMAC, n.wrapped)
		f[5] ^= 1
		if o := b.sendFrame(f); o.verdict != "other-host" || o.action != xdpPass || !bytes.Equal(o.ip, n.wrapped) {
			t.Errorf("%s: %s, action %d", n.name, o.verdict, o.action)
		}
	}
}

// A checksum over the tunnel is checked before anything is believed.
func TestFrontsChecksums(t *testing.T) {
	all := nests(t)
	b := newInner(t, "-m")
	tested := 0
	for _, n := range all {
		if !strings.HasSuffix(n.name, "tun-csum") {
			continue
		}
		for at := n.inner(); at < len(n.wrapped); at++ {
			p := bytes.Clone(n.wrapped)
			p[at] ^= 0x10
			o := b.send(clientMAC, p)
			if o.action != xdpDrop {
				t.Errorf("%s, byte %d: %s", n.name, at, o.verdict)
			}
			tested++
		}
	}
	if tested == 0 {
		t.Error("no tunnel has a checksum")
	}
}

// What a front sends of a client in TCP's middle, for a service, but of no
// connection, the kernel is to answer by RST where it has the VIP. Elsewhere it
// would send it on, to the front again.
func TestFrontsUnknownConnection(t *testing.T) {
	b := newInner(t, "-m")
	vip, from := netip.MustParseAddrPort("10.0.0.80:80"), netip.MustParseAddrPort("172.16.0.5:4000")
	middle := tcp(from, vip, "A")
	if o := b.send(clientMAC, byIPIP(middle)); o.verdict != "not-vip" || o.action != xdpDrop {
		t.Errorf("the kernel has no VIP: %s, action %d", o.verdict, o.action)
	}
	if err := b.SetDIPs([]netip.Addr{innerDIP, vip.Addr()}); err != nil {
		t.Fatal(err)
	}
	if o := b.send(clientMAC, byIPIP(middle)); o.verdict != "no-connection" || o.action != xdpPass || !bytes.Equal(o.ip, middle) {
		t.Errorf("the kernel has the VIP: %s, action %d, %x", o.verdict, o.action, o.ip)
	}
	elsewhere := byIPIP(tcp(from, netip.AddrPortFrom(vip.Addr(), 81), "A"))
	if o := b.send(clientMAC, elsewhere); o.verdict != "not-vip" || o.action != xdpDrop {
		t.Errorf("no service has the port: %s, action %d", o.verdict, o.action)
	}
}

// Whatever is spoilt, the kernel gets it as it came or not at all, nothing but a
// packet to a service comes out, and each is counted once.
func TestMutatedFronts(t *testing.T) {
	all := nests(t)
	b := newInner(t, "-m")
	dice := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	rounds, tested, before := 2000, uint64(0), b.verdicts()
	for _, n := range all {
		for range rounds {
			p := bytes.Clone(n.wrapped)
			for range dice.IntN(4) {
				p[dice.IntN(len(p))] = byte(dice.Uint32())
			}
			p = p[:1+dice.IntN(len(p))]
			frame := frame(clientMAC, p)
			action, out, err := b.program.Test(frame)
			if err != nil {
				t.Fatal(err)
			}
			tested++
			if action == xdpPass && !bytes.Equal(out, frame) {
				o := verdictOf(t, b)
				if o != "no-connection" && !strings.HasPrefix(o, "masq") && fateNamed(o) != Answered {
					t.Fatalf("%s: %s makes of\n%x\n%x", n.name, o, frame, out)
				}
			}
		}
	}
	var counted uint64
	for name, packets := range b.verdicts() {
		counted += packets - before[name]
	}
	if counted != tested {
		t.Errorf("%d packets are counted of %d", counted, tested)
	}
}

func verdictOf(t *testing.T, b *bench) string {
	t.Helper()
	var told directorTestCase
	if err := b.test.Get(&told); err != nil {
		t.Fatal(err)
	}
	return verdictNames[told.Verdict]
}

func fateNamed(name string) Fate {
	for i, v := range verdictNames {
		if v == name {
			return fateOf(directorVerdict(i))
		}
	}
	return ""
}

// What was set is there for who asks, and what is no more is gone.
func TestSetFronts(t *testing.T) {
	b := newInner(t, "-m")
	for _, want := range [][]netip.Addr{{directorAddress, directorAddress6}, {directorAddress6}, nil} {
		b.front(want...)
		got, err := b.Fronts()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("fronts (-want +got):\n%s", diff)
		}
		types, err := entries[directorTunnelType, uint8](b.maps.TunnelTypes)
		if err != nil || (len(types) == 0) != (len(want) == 0) {
			t.Errorf("%d types of tunnels for %d fronts, %v", len(types), len(want), err)
		}
	}
}

// Who is told of no fronts does not load what they need.
func TestWithoutFronts(t *testing.T) {
	with := newBench(t)
	without, err := Open(Config{Connections: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	if all, fewer := with.programCount(), without.programCount(); fewer != all-1 {
		t.Errorf("%d programs are loaded, and with fronts %d", fewer, all)
	}
}

// programCount is how many programs the attached one can leave packets to.
func (d *Dataplane) programCount() (n int) {
	var id uint32
	for i := range d.maps.Programs.MaxEntries() {
		if d.maps.Programs.Lookup(i, &id) == nil {
			n++
		}
	}
	return n
}

// byIPIP puts a packet into a front's tunnel.
func byIPIP(packet []byte) []byte { return ipv4(directorAddress, innerDIP, 4, packet) }

// Fragments of a datagram come in tunnels each, and follow the first as without one.
func TestFrontsFragments(t *testing.T) {
	b := newInner(t, "-m")
	vip, from := netip.MustParseAddrPort("10.0.0.80:53"), netip.MustParseAddrPort("172.16.0.5:4000")
	b.apply("-A -u "+vip.String()+" -s rr", "-a -u "+vip.String()+" -r 192.168.1.21:53 -m")
	datagram := udp(from, vip, bytes.Repeat([]byte("lvsx"), 30)...)
	var wrapped [][]byte
	for _, f := range inFragments(datagram, 7, 32, 64) {
		wrapped = append(wrapped, byIPIP(f))
	}
	got := whole(b.sendAll(clientMAC, "masq-in", wrapped))
	if src, dst := endpoints(got); broken(got) != "" || src != from || dst != netip.MustParseAddrPort("192.168.1.21:53") {
		t.Errorf("%s from %s to %s", broken(got), src, dst)
	}
	stray := byIPIP(inFragments(datagram, 8, 32)[1])
	if o := b.send(clientMAC, stray); o.verdict != "not-vip" || o.action != xdpDrop {
		t.Errorf("a fragment without its first: %s, action %d", o.verdict, o.action)
	}
}

// So does an ICMP error about a connection; one about none goes nowhere.
func TestFrontsErrors(t *testing.T) {
	b := newInner(t, "-m")
	vip, from := netip.MustParseAddrPort("10.0.0.80:80"), netip.MustParseAddrPort("172.16.0.5:4000")
	b.send(clientMAC, byIPIP(tcp(from, vip, "S")))
	for port, want := range map[uint16]string{4000: "error-in", 4001: "not-vip"} {
		quoted := tcp(vip, netip.AddrPortFrom(from.Addr(), port), "A")
		o := b.send(clientMAC, byIPIP(icmpError(netip.MustParseAddr("172.16.0.1"), vip.Addr(), 3, 4, 1400, quoted)))
		if o.verdict != want {
			t.Errorf("about port %d: %s, not %s", port, o.verdict, want)
		}
	}
}
