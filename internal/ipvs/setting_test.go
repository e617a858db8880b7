// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// The values that Linux 6.12 takes and refuses, where the setting can be set.
func TestSettingParse(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       int32
		err        string
	}{
		{"sloppy_tcp", "1", 1, ""},
		{"net.ipv4.vs.sloppy_tcp", " 7 ", 7, ""},
		{"net/ipv4/vs/amemthresh", "-1", -1, ""},
		{"am_droprate", "2147483647", 2147483647, ""},
		{"am_droprate", "2147483648", 0, "set am_droprate: 2147483648 is not between -2147483648 and 2147483647"},
		{"drop_entry", "3", 3, ""},
		{"drop_packet", "4", 0, "set drop_packet: 4 is not between 0 and 3"},
		{"secure_tcp", "-1", 0, "set secure_tcp: -1 is not between 0 and 3"},
		{"lblc_expiration", "60", 60, ""},
		{"lblc_expiration", "2147483647", 0, "set lblc_expiration: 2147483647 is not between -2147483 and 2147483"},
		{"conn_reuse_mode", "", 0, `set conn_reuse_mode: "" is not a number`},
		{"conn_reuse_mode", "on", 0, `set conn_reuse_mode: "on" is not a number`},
		{"conn_reuse_mode", "1.5", 0, `set conn_reuse_mode: "1.5" is not a number`},
		{"snat_reroute", "0", 0, "set snat_reroute: it stays at 1 (NAT replies take the route that the VIP's packets take): they always do"},
		{"sync_threshold", "5 60", 0, "set sync_threshold: it stays at 3 50 (packets before a connection is sent, and between): there is no sync daemon yet"},
	} {
		s, err := ipvs.FindSetting(test.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Parse(test.text)
		if text := errText(err); got != test.want || text != test.err {
			t.Errorf("%s %q: %d, %q, want %d, %q", test.name, test.text, got, text, test.want, test.err)
		}
	}
	if _, err := ipvs.FindSetting("sloppy"); errText(err) != `find setting "sloppy": there is none of that name; lvsx get lists all` {
		t.Errorf("FindSetting(sloppy): %v", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSettingsInOrder(t *testing.T) {
	byName := func(a, b ipvs.Setting) int { return strings.Compare(a.Name, b.Name) }
	all := ipvs.Settings()
	if !slices.IsSortedFunc(all, byName) {
		t.Error("not by name")
	}
	for _, s := range all {
		if s.About == "" || len(s.Name) >= 32 {
			t.Errorf("%+v: say what it does, in a name of less than 32 bytes", s)
		}
	}
}
