// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSegmentOfPacket(t *testing.T) {
	ipv4, ipv6 := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	for _, test := range []struct {
		packet int
		family netip.Addr
		want   uint16
	}{
		{1500 - 20 - 20, ipv4, 1420}, {1500 - 20 - 20, ipv6, 1400}, {1500 - 40 - 20, ipv6, 1380},
		{0, ipv4, 0}, {30, ipv4, 0}, {100000, ipv6, 0xffff},
	} {
		if got := segment(test.packet, test.family); got != test.want {
			t.Errorf("of a packet of %d bytes to %s: %d, want %d", test.packet, test.family, got, test.want)
		}
	}
}

func TestCheckFronts(t *testing.T) {
	for fronts, want := range map[string]string{
		"":                                "",
		"192.0.2.2":                       "",
		"192.0.2.2 2001:db8::2 192.0.2.3": "",
		"192.0.2.2 192.0.2.2":             "given twice",
		"::ffff:192.0.2.2":                "write it as 192.0.2.2",
		"fe80::1%eth0":                    "a zone",
		"fe80::1":                         "no address that another machine",
		"0.0.0.0":                         "no address that another machine",
		"127.0.0.1":                       "no address that another machine",
		"ff02::1":                         "no address that another machine",
		"224.0.0.18":                      "no address that another machine",
		"255.255.255.255":                 "no address that another machine",
	} {
		var addresses []netip.Addr
		for _, text := range strings.Fields(fronts) {
			addresses = append(addresses, netip.MustParseAddr(text))
		}
		err := CheckFronts(addresses, 6080)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", fronts, err, want)
		}
	}
	if err := CheckFronts([]netip.Addr{netip.MustParseAddr("192.0.2.2")}, 0); err == nil {
		t.Error("port 0 is taken for GUE's")
	}
}
