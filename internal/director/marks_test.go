// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// A service of a mark wants a rule with its mark and of its family.
func TestUnmarked(t *testing.T) {
	var table ipvs.Table
	for _, key := range []ipvs.Key{
		{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")},
		ipvs.MarkKey(1, false), ipvs.MarkKey(1, true), ipvs.MarkKey(2, false),
	} {
		table.Services = append(table.Services, ipvs.Service{Key: key})
	}
	rules := []ipvs.MarkRule{
		{VIP: netip.MustParsePrefix("192.0.2.0/24"), Ports: ipvs.AllPorts, Mark: 1},
		{VIP: netip.MustParsePrefix("2001:db8::/32"), Ports: ipvs.AllPorts, Mark: 2},
	}
	want := []string{
		"service -f 1 -6: no rule gives a packet its mark, and those of a firewall are set too late for XDP: lvsx mark add --vip VIP --mark 1",
		"service -f 2: no rule gives a packet its mark, and those of a firewall are set too late for XDP: lvsx mark add --vip VIP --mark 2",
	}
	if diff := cmp.Diff(want, unmarked(table, rules)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
