// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// A connection's JSON is that of encoding/json.
func TestConnJSON(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:443")
	for name, c := range map[string]ipvs.Conn{
		"zero": {},
		"IPv4": {Protocol: ipvs.TCP, CIP: v4, VIP: v4, RIP: v4, State: "ESTABLISHED", Expires: 15 * time.Minute},
		"IPv6": {Protocol: ipvs.UDP, CIP: v6, VIP: v6, RIP: v6, State: "UDP", Expires: -1},
		"SCTP": {Protocol: ipvs.SCTP, CIP: v4, VIP: v4, RIP: v6, State: "S-ACK-SENT", Expires: time.Second},
		"template": {
			CIP: netip.AddrPortFrom(v4.Addr(), 0), VIP: v4, RIP: v4, State: "NONE", Template: true,
			Engine: "sip", EngineData: `"<call>&` + "\x00\xff\u2028@host",
		},
	} {
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendConn(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
