// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// byValue compares addresses, which go-cmp cannot see into.
var byValue = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func oneOf[T any](r *rand.Rand, values ...T) T {
	return values[r.IntN(len(values))]
}

func randomKey(r *rand.Rand) ipvs.Key {
	if r.IntN(4) == 0 {
		return ipvs.MarkKey(oneOf[uint32](r, 1, 7, 1<<31, 1<<32-1), r.IntN(2) == 0)
	}
	vip := oneOf(r, "10.0.0.80:80", "192.0.2.1:65535", "[2001:db8::80]:80", "0.0.0.0:1", "[::]:53")
	return ipvs.Key{Protocol: oneOf(r, ipvs.TCP, ipvs.UDP, ipvs.SCTP), VIP: netip.MustParseAddrPort(vip)}
}

func randomService(r *rand.Rand) ipvs.Service {
	s := ipvs.Service{Key: randomKey(r), Scheduler: oneOf(r, "rr", "wrr", "sh", "mh", "twos"), Engine: oneOf(r, "", "", "sip")}
	s.Flags = ipvs.ServiceFlags(r.IntN(8)) * ipvs.SchedFlag1
	if s.Mark != 0 || s.Protocol == ipvs.UDP {
		s.Flags |= oneOf(r, 0, ipvs.OnePacket)
	}
	if r.IntN(2) == 0 {
		s.Flags |= ipvs.Persistent
		s.Timeout = oneOf[uint32](r, 1, 360, 2678400)
		s.Netmask = oneOf(r, ipvs.FullMask, 0xffffff00, 0, 1)
		if s.IPv6() {
			s.Netmask = oneOf(r, ipvs.FullPrefix, 64, 1)
		}
	}
	return s
}

func randomDestination(r *rand.Rand, k ipvs.Key) ipvs.Destination {
	d := ipvs.Destination{Weight: r.Int32(), Upper: oneOf[uint32](r, 0, 1<<31-1)}
	if d.Upper != 0 {
		d.Lower = oneOf[uint32](r, 0, 10)
	}
	rip := netip.MustParseAddr("192.168.1.11")
	if k.IPv6() {
		rip = netip.MustParseAddr("2001:db8:1::11")
	}
	d.Forwarding = oneOf(r, ipvs.Masq, ipvs.Tunnel, ipvs.Route)
	port := uint16(r.IntN(65536))
	if k.Mark == 0 && d.Forwarding != ipvs.Masq {
		port = k.VIP.Port()
	}
	d.RIP = netip.AddrPortFrom(rip, port)
	if d.Forwarding == ipvs.Tunnel {
		d.TunnelType = oneOf(r, ipvs.IPIP, ipvs.GUE, ipvs.GRE)
	}
	switch d.TunnelType {
	case ipvs.GUE:
		d.TunnelPort = 6080
		d.TunnelFlags = oneOf(r, ipvs.NoChecksum, ipvs.Checksum, ipvs.RemoteChecksum)
	case ipvs.GRE:
		d.TunnelFlags = oneOf(r, ipvs.NoChecksum, ipvs.Checksum)
	}
	return d
}

func randomChange(r *rand.Rand) ipvs.Change {
	c := ipvs.Change{Op: oneOf(r, ipvs.AddService, ipvs.EditService, ipvs.DeleteService, ipvs.Flush,
		ipvs.AddDestination, ipvs.EditDestination, ipvs.DeleteDestination, ipvs.Zero)}
	switch c.Op {
	case ipvs.Flush:
	case ipvs.AddService, ipvs.EditService:
		c.Service = randomService(r)
	case ipvs.AddDestination, ipvs.EditDestination:
		c.Service.Key = randomKey(r)
		c.Destination = randomDestination(r, c.Service.Key)
	case ipvs.DeleteDestination:
		c.Service.Key = randomKey(r)
		c.Destination.RIP = randomDestination(r, c.Service.Key).RIP
	case ipvs.Zero:
		if r.IntN(2) == 0 {
			break
		}
		fallthrough
	default:
		c.Service.Key = randomKey(r)
	}
	return c
}

func TestParseReadsWhatAChangePrints(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		want := randomChange(r)
		got, err := ipvsadm.Parse(strings.Fields(want.String())...)
		if err != nil {
			t.Fatalf("Parse(%q): %v", want, err)
		}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Fatalf("Parse(%q) (-want +got):\n%s", want, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		line, want string
	}{
		{"", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"-t 10.0.0.1:80 -A", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"-L -n", "-L -n: changes nothing"},
		{"-A -t www:80", "illegal virtual server address[:port] specified"},
		{"-A -t 10.0.0.1:80 -Lq", "invalid option `-Lq'"},
		{"-L --start-daemon master", "invalid option `master'"},
		{"-A -t 10.0.0.1:80 -nq", "-nq: unknown option"},
		{"-A -t 10.0.0.1:80 --num", "--num: unknown option"},
		{"-A -t 10.0.0.1:80 --numeric=1", "--numeric=1: option does not take an argument"},
		{"-A -t 10.0.0.1:80 -- -s rr", "unexpected argument -s"},
		{"-A -t 10.0.0.1:80 -", "unexpected argument -"},
		{"-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue", "You need to supply the 'tun-port' option for the 'gue' tunnel type"},
	} {
		_, err := ipvsadm.Parse(strings.Fields(tt.line)...)
		if err == nil || err.Error() != tt.want {
			t.Errorf("Parse(%q) = %v, want %q", tt.line, err, tt.want)
		}
	}
}

// The order of options matters where a value is read by what came before.
func TestParseGoesInOrder(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"-a -t 10.0.0.1:80 -r 10.0.0.2 -m", "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1"},
		{"-a -r 10.0.0.2 -t 10.0.0.1:80 -m", "-a -t 10.0.0.1:80 -r 10.0.0.2:0 -m -w 1"},
		{"-a -r 10.0.0.2 -t 10.0.0.1:80", "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{"-At10.0.0.1:80 -srr -p9", "-A -t 10.0.0.1:80 -s rr -p 9"},
		{"-A -p -t 10.0.0.1:80", "-A -t 10.0.0.1:80 -s wlc -p 360"},
		{"-A -t 10.0.0.1:80 -M 255.255.255.0", "-A -t 10.0.0.1:80 -s wlc"},
		{"--zero", "-Z"},
	} {
		c, err := ipvsadm.Parse(strings.Fields(tt.line)...)
		if err != nil || c.String() != tt.want {
			t.Errorf("Parse(%q) = %q, %v, want %q", tt.line, c, err, tt.want)
		}
	}
}
