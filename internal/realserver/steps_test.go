// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/ipvs"
)

var (
	vip      = netip.MustParseAddr("192.0.2.1")
	director = netip.MustParseAddr("10.0.0.1")
	rip      = netip.MustParseAddr("10.0.0.2")
)

func TestNeeds(t *testing.T) {
	for _, test := range []struct {
		name  string
		want  Want
		facts Facts
		steps []string
	}{
		{
			name:  "DR falls silent on each link before it has the VIP",
			want:  Want{Method: DR, VIP: vip},
			facts: Facts{ARPLinks: []string{"eth0", "eth1.10"}, Arrivals: []string{"eth0"}},
			steps: []string{
				"sysctl -w net.ipv4.conf.eth0.arp_ignore=1",
				"sysctl -w net.ipv4.conf.eth0.arp_announce=2",
				"sysctl -w net.ipv4.conf.eth1/10.arp_ignore=1",
				"sysctl -w net.ipv4.conf.eth1/10.arp_announce=2",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
		{
			name:  "DR lets in clients whose replies leave elsewhere",
			want:  Want{Method: DR, VIP: vip},
			facts: Facts{Arrivals: []string{"eth0"}, Astray: []string{"eth0"}},
			steps: []string{
				"sysctl -w net.ipv4.conf.eth0.rp_filter=2",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
		{
			name:  "TUN with the kernel's tunnel: clients come out of tunl0",
			want:  Want{Method: TUN, VIP: vip},
			facts: Facts{ARPLinks: []string{"eth0"}, Arrivals: []string{"eth0"}, Astray: []string{"eth0"}, Tunnel: true},
			steps: []string{
				"sysctl -w net.ipv4.conf.eth0.arp_ignore=1",
				"sysctl -w net.ipv4.conf.eth0.arp_announce=2",
				"ip link set tunl0 up",
				"sysctl -w net.ipv4.conf.tunl0.rp_filter=2",
				"ip address add 192.0.2.1/32 dev tunl0",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
		{
			name:  "TUN with the decapsulator: clients come in by the real link",
			want:  Want{Method: TUN, VIP: vip, Directors: []netip.Addr{director}},
			facts: Facts{Arrivals: []string{"eth0"}, Astray: []string{"eth0"}, RIPs: []netip.Addr{rip}},
			steps: []string{
				"decapsulator: add 192.0.2.1 to vips",
				"decapsulator: add 10.0.0.1 to directors",
				"decapsulator: add 10.0.0.2 to rips",
				"decapsulator: take ipip apart",
				"decapsulator: attach to eth0",
				"sysctl -w net.ipv4.conf.eth0.rp_filter=2",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
		{
			name:  "TUN with tunnels that the kernel's is not for",
			want:  Want{Method: TUN, VIP: vip, Directors: []netip.Addr{director}, Tunnels: []decap.Tunnel{{Type: ipvs.GRE}, {Type: ipvs.GUE, Port: 6080}}},
			facts: Facts{Arrivals: []string{"eth0"}, Tunnel: true, RIPs: []netip.Addr{rip}},
			steps: []string{
				"decapsulator: add 192.0.2.1 to vips",
				"decapsulator: add 10.0.0.1 to directors",
				"decapsulator: add 10.0.0.2 to rips",
				"decapsulator: take gre apart",
				"decapsulator: take gue:6080 apart",
				"decapsulator: attach to eth0",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
		{
			name:  "TUN tells clients to leave room for the tunnel's headers",
			want:  Want{Method: TUN, VIP: vip, Directors: []netip.Addr{director}},
			facts: Facts{Arrivals: []string{"eth0"}, Tunnel: true, Departures: []string{"eth0", "eth1"}, ArrivalMTU: 1500, DepartureMTU: 1500, CanClamp: true},
			steps: []string{
				"ip link set tunl0 up",
				"sysctl -w net.ipv4.conf.tunl0.rp_filter=2",
				"ip address add 192.0.2.1/32 dev tunl0",
				"decapsulator: add 192.0.2.1 to vips",
				"clamp: tell clients of 192.0.2.1 an MSS of 1440",
				"clamp: attach to eth0",
				"clamp: attach to eth1",
				"ip link set lo up",
				"ip address add 192.0.2.1/32 dev lo",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, step := range needs(test.want, test.facts) {
				got = append(got, step.String())
			}
			if diff := cmp.Diff(test.steps, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsMet(t *testing.T) {
	for _, test := range []struct {
		setting  string
		all, own int
		want     bool
	}{
		{"arp_ignore", 0, 0, false},
		{"arp_ignore", 1, 0, true},
		{"arp_ignore", 0, 1, true},
		{"arp_ignore", 0, 2, true},
		{"arp_ignore", 3, 1, false},
		{"arp_ignore", 0, 4, false},
		{"arp_ignore", 0, 8, true},
		{"arp_announce", 1, 1, false},
		{"arp_announce", 2, 0, true},
		{"arp_announce", 0, 2, true},
		{"rp_filter", 0, 0, true},
		{"rp_filter", 1, 0, false},
		{"rp_filter", 0, 1, false},
		{"rp_filter", 1, 2, true},
	} {
		if got := (Step{Kind: SetSysctl, Setting: test.setting}).isMet(test.all, test.own); got != test.want {
			t.Errorf("%s: all %d, own %d: met is %t, want %t", test.setting, test.all, test.own, got, test.want)
		}
	}
}

func TestMergeAndWithout(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.2")
	have := []Want{{Method: DR, VIP: vip}, {Method: TUN, VIP: other}}
	for _, test := range []struct {
		name string
		got  []Want
		want []Want
	}{
		{"a VIP is replaced in its place", merge(have, []Want{{Method: TUN, VIP: vip}}), []Want{{Method: TUN, VIP: vip}, {Method: TUN, VIP: other}}},
		{"a new VIP comes behind", merge(have[:1], have[1:]), have},
		{"without all", without(have, Request{}), []Want{}},
		{"without one VIP", without(have, Request{VIPs: []netip.Addr{vip}}), have[1:]},
		{"without one method", without(have, Request{Method: TUN}), have[:1]},
		{"without a VIP of another method", without(have, Request{Method: NAT, VIPs: []netip.Addr{vip}}), have},
	} {
		if diff := cmp.Diff(test.want, test.got, compareAddresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
