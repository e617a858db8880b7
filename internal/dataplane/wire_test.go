// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

func TestServiceKeyRoundTrip(t *testing.T) {
	for _, key := range []ipvs.Key{
		{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")},
		{Protocol: ipvs.UDP, VIP: netip.MustParseAddrPort("10.0.0.80:65535")},
		{Protocol: ipvs.SCTP, VIP: netip.MustParseAddrPort("[2001:db8::1]:256")},
		ipvs.MarkKey(1, false),
		ipvs.MarkKey(0xffffffff, true),
	} {
		if got := fromServiceKey(toServiceKey(key)); got != key {
			t.Errorf("%s came back as %s", key, got)
		}
	}
}

func TestMarkRuleRoundTrip(t *testing.T) {
	for _, r := range []ipvs.MarkRule{
		{VIP: netip.MustParsePrefix("192.0.2.1/32"), Protocol: ipvs.TCP, Ports: ipvs.PortRange{First: 80, Last: 443}, Mark: 1},
		{VIP: netip.MustParsePrefix("0.0.0.0/0"), Ports: ipvs.AllPorts, Mark: 0xffffffff},
		{VIP: netip.MustParsePrefix("2001:db8::/33"), Protocol: ipvs.SCTP, Ports: ipvs.AllPorts, Mark: 7},
	} {
		if got := fromMarkRule(toMarkRule(r, directorMarkUseMARK_CONFIGURED)); got != r {
			t.Errorf("%s came back as %s", r, got)
		}
		if got := fromMarkKey(toMarkKey(r.VIP, ipvs.TCP)); got != r.VIP {
			t.Errorf("%s came back as %s", r.VIP, got)
		}
	}
}

func TestPortsAreInNetworkOrder(t *testing.T) {
	key := toServiceKey(ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")})
	if key.Port != 80<<8 {
		t.Errorf("port 80 is %#x in memory", key.Port)
	}
	want := [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}
	if key.Vip.Bytes != want {
		t.Errorf("192.0.2.1 is %x, want %x", key.Vip.Bytes, want)
	}
}

func TestStatsRoundTrip(t *testing.T) {
	stats := ipvs.Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 1 << 60, OutBytes: 5}
	if got := fromStats(toStats(stats)); got != stats {
		t.Errorf("%+v came back as %+v", stats, got)
	}
}

func TestSchedulerNames(t *testing.T) {
	for _, name := range append([]string{"none"}, sched.Names...) {
		if _, built := schedulers[name]; !built {
			t.Errorf("%s is not built", name)
		}
	}
	for name, value := range schedulers {
		if got := fromScheduler(value); got != name {
			t.Errorf("%s came back as %s", name, got)
		}
	}
}

func TestEveryVerdictHasANameAndAFate(t *testing.T) {
	seen := make(map[string]bool)
	for i, name := range verdictNames {
		if name == "" || seen[name] {
			t.Errorf("verdict %d is called %q", i, name)
		}
		seen[name] = true
	}
	for name, want := range map[string]Fate{
		"not-ours": Passed, "reply-expired": Passed, "masq-in": Forwarded, "error-out": Forwarded,
		"no-destination": Answered, "too-big": Answered, "destination-gone": Dropped, "no-room": Dropped,
	} {
		if got := fateOf(directorVerdict(slices.Index(verdictNames[:], name))); got != want {
			t.Errorf("%s: fate %s, want %s", name, got, want)
		}
	}
}

func FuzzServiceKey(f *testing.F) {
	f.Add([]byte{15: 1}, uint16(80), uint8(6))
	f.Fuzz(func(t *testing.T, address []byte, port uint16, proto uint8) {
		addr, ok := netip.AddrFromSlice(address)
		if !ok {
			return
		}
		key := ipvs.Key{Protocol: ipvs.Protocol(proto), VIP: netip.AddrPortFrom(addr.Unmap(), port)}
		if got := fromServiceKey(toServiceKey(key)); got != key {
			t.Errorf("%v came back as %v", key, got)
		}
	})
}

func FuzzPinName(f *testing.F) {
	f.Add("2-native")
	f.Add("7-generic")
	f.Add("-native")
	f.Fuzz(func(t *testing.T, name string) {
		ifindex, mode, ok := parsePinName(name)
		if !ok {
			return
		}
		if again, sameMode, ok := parsePinName(pinName(ifindex, mode)); !ok || again != ifindex || sameMode != mode {
			t.Errorf("%q is interface %d, %s, which is written as %q", name, ifindex, mode, pinName(ifindex, mode))
		}
	})
}
