// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"
)

func (f *filter) has(a netip.Addr) bool {
	return f.uses[filterPlace(a)]&f.use != 0
}

// collidingWith finds another address with the same place.
func collidingWith(t *testing.T, a netip.Addr) netip.Addr {
	t.Helper()
	for i := range uint32(1 << 22) {
		b := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		if filterPlace(a) == filterPlace(b) {
			return b
		}
	}
	t.Fatalf("no address hashes as %s", a)
	return a
}

func TestFilterCountsCollisions(t *testing.T) {
	f := newFilter(make([]uint8, 1<<filterBits), directorFilterUseFILTER_VIP)
	a := netip.MustParseAddr("192.0.2.1")
	b := collidingWith(t, a)
	f.add(a)
	f.add(b)
	f.add(a)
	f.remove(a)
	f.remove(b)
	if !f.has(a) {
		t.Error("the bit went while an address was left")
	}
	f.remove(a)
	if f.has(a) {
		t.Error("the bit stayed after the last address")
	}
}

// The datapath must compute the same place, or it takes no packet for the VIP.
func TestFilterIsTheDatapaths(t *testing.T) {
	for _, vip := range []string{"10.0.0.80", "192.0.2.255", "203.0.113.1", "1.2.3.4", "223.255.255.254"} {
		b := newBench(t, "-A -t "+vip+":80 -s rr", "-a -t "+vip+":80 -r 192.168.1.11 -m")
		if o := b.send(clientMAC, tcp(client, netip.MustParseAddrPort(vip+":80"), "S")); o.verdict != "masq-in" {
			t.Errorf("%s: verdict %s, want masq-in", vip, o.verdict)
		}
	}
}
