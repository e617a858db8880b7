// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"net/netip"
	"testing"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/ipvs"
)

func TestSegment(t *testing.T) {
	vip6, director6 := netip.MustParseAddr("2001:db8::80"), netip.MustParseAddr("2001:db8::1")
	gre, gue := decap.Tunnel{Type: ipvs.GRE}, decap.Tunnel{Type: ipvs.GUE, Port: 6080}
	ethernet := Facts{ArrivalMTU: 1500, DepartureMTU: 1500, CanClamp: true}
	for _, test := range []struct {
		name  string
		want  Want
		facts Facts
		bytes int
	}{
		{"IPIP", Want{Method: TUN, VIP: vip}, ethernet, 1500 - 20 - 20 - 20},
		{"IPIP for IPv6", Want{Method: TUN, VIP: vip6}, ethernet, 1500 - 20 - 40 - 20},
		{"IPIP over IPv6", Want{Method: TUN, VIP: vip, Directors: []netip.Addr{director, director6}}, ethernet, 1500 - 40 - 20 - 20},
		{"GRE", Want{Method: TUN, VIP: vip, Tunnels: []decap.Tunnel{gre}}, ethernet, 1500 - 20 - 8 - 20 - 20},
		{"the longest of several", Want{Method: TUN, VIP: vip, Tunnels: []decap.Tunnel{gue, gre}}, ethernet, 1500 - 20 - 12 - 20 - 20},
		{"room enough", Want{Method: TUN, VIP: vip}, Facts{ArrivalMTU: 1520, DepartureMTU: 1500, CanClamp: true}, 0},
		{"as asked for", Want{Method: TUN, VIP: vip, MSS: 1300}, ethernet, 1300},
		{"off", Want{Method: TUN, VIP: vip, MSS: -1}, ethernet, 0},
		{"no tunnel", Want{Method: DR, VIP: vip}, ethernet, 0},
		{"an old kernel", Want{Method: TUN, VIP: vip}, Facts{ArrivalMTU: 1500, DepartureMTU: 1500}, 0},
	} {
		if got := test.want.segment(test.facts); got != test.bytes {
			t.Errorf("%s: %d bytes, want %d", test.name, got, test.bytes)
		}
	}
}
