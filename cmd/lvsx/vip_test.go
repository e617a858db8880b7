// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestParseVIP(t *testing.T) {
	for _, test := range []struct{ text, vip, err string }{
		{"192.0.2.1/32", "192.0.2.1", ""},
		{"192.0.2.1", "192.0.2.1", ""},
		{"192.0.2.1/24", "", "a VIP is one address, 192.0.2.1/32"},
		{"192.0.2", "", "not an address such as"},
		{"eth0", "", "not an address such as"},
		{"", "", "not an address such as"},
		{"224.0.0.1/32", "", "not an address that clients can connect to"},
		{"2001:db8::1/128", "2001:db8::1", ""},
		{"2001:db8::1", "2001:db8::1", ""},
		{"2001:db8::1/64", "", "a VIP is one address, 2001:db8::1/128"},
		{"fe80::1", "", "not an address that clients can connect to"},
		{"fe80::1%eth0", "", "nor a plain IPv6 address"},
		{"ff02::1", "", "not an address that clients can connect to"},
		{"::", "", "not an address that clients can connect to"},
		{"::1", "", "not an address that clients can connect to"},
		{"::ffff:192.0.2.1", "", "nor a plain IPv6 address"},
	} {
		vip, err := parseVIP(test.text)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q: error is %v, want %q", test.text, err, test.err)
		}
		if err == nil && vip.String() != test.vip {
			t.Errorf("%q: VIP is %s, want %s", test.text, vip, test.vip)
		}
	}
}

func TestVIPCommandRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"announce":                                  "unknown command",
		"add 192.0.2.1/32":                          `required flag(s) "interface" not set`,
		"add --interface eth0":                      "accepts 1 arg(s), received 0",
		"add 192.0.2.1/24 --interface eth0":         "a VIP is one address",
		"del 192.0.2.1/32 --interface no-such-link": "find interface no-such-link: no such interface",
	} {
		if _, err := execute(newVIPCommand(), line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", line, err, want)
		}
	}
}
