// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Without tcx NAT does not reach a real server on the director; the other methods do.
func TestUnreached(t *testing.T) {
	own, other := netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.11:80")
	table := ipvs.Table{Services: []ipvs.Service{{Destinations: []ipvs.Destination{
		{RIP: own, Forwarding: ipvs.Masq}, {RIP: own, Forwarding: ipvs.Route}, {RIP: other, Forwarding: ipvs.Masq},
	}}}}
	want := []string{"real server 10.0.0.1:8080 is this host, which NAT reaches from Linux 6.6 on: until then let it listen on the VIP and its port, with -g"}
	got := unreached(table, func(rip netip.Addr) bool { return rip == own.Addr() })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
