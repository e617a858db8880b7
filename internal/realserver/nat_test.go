// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
)

func TestJudgeReturn(t *testing.T) {
	through := func(gateway string) host.Path { return host.Path{Gateway: netip.MustParseAddr(gateway)} }
	for _, test := range []struct {
		name     string
		defaults []host.Path
		err      string // empty: all is well
	}{
		{"through the director", []host.Path{through("10.0.0.1")}, ""},
		{"through either director", []host.Path{through("10.0.0.1"), through("10.0.0.9")}, ""},
		{"nowhere", nil, "no default route"},
		{"through another router", []host.Path{through("10.0.0.254")}, "leads through 10.0.0.254"},
		{"sometimes through another router", []host.Path{through("10.0.0.1"), through("10.0.0.254")}, "leads through 10.0.0.254"},
		{"onto the link", []host.Path{{Link: 2}}, "no gateway"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := judgeReturn(test.defaults, []netip.Addr{director, netip.MustParseAddr("10.0.0.9")})
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error is %v, want %q", err, test.err)
			}
		})
	}
}
