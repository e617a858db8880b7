// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

var byAddress = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// rule reads "VIP PROTO PORTS MARK", with - for what is not named.
func rule(t testing.TB, text string) ipvs.MarkRule {
	t.Helper()
	words := strings.Fields(strings.ReplaceAll(text, "-- ", "0-65535 "))
	r := ipvs.MarkRule{}
	var err error
	if r.VIP, err = ipvs.ParseMarkVIP(words[0]); err != nil {
		t.Fatal(err)
	}
	if words[1] != "any" {
		if err := r.Protocol.UnmarshalText([]byte(words[1])); err != nil {
			t.Fatal(err)
		}
	}
	if r.Ports, err = ipvs.ParsePortRange(words[2]); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(words[3]), &r.Mark); err != nil {
		t.Fatal(err)
	}
	return r
}

func rules(t testing.TB, lines ...string) (m ipvs.MarkRules) {
	t.Helper()
	for _, line := range lines {
		if _, err := m.Add(rule(t, line)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// The longest prefix, then the named protocol, then the fewest ports.
func TestMark(t *testing.T) {
	m := rules(t,
		"10.1.0.0/16 any -- 1",
		"10.1.2.0/24 tcp 80-90 2",
		"10.1.2.3 any 80 3",
		"10.1.2.3 tcp 0-1023 4",
		"10.1.2.3 tcp 80 5",
		"10.1.2.3 tcp 80-89 6",
		"::/0 any -- 7",
		"2001:db8::1 udp 53 8",
	)
	for _, test := range []struct {
		protocol ipvs.Protocol
		to       string
		want     uint32
	}{
		{ipvs.TCP, "10.1.9.9:1", 1},
		{ipvs.UDP, "10.1.2.9:80", 1},
		{ipvs.TCP, "10.1.2.9:79", 1},
		{ipvs.TCP, "10.1.2.9:80", 2},
		{ipvs.TCP, "10.1.2.9:90", 2},
		{ipvs.TCP, "10.1.2.9:91", 1},
		{ipvs.TCP, "10.1.2.3:80", 5},
		{ipvs.TCP, "10.1.2.3:81", 6},
		{ipvs.TCP, "10.1.2.3:90", 4},
		{ipvs.TCP, "10.1.2.3:1024", 1},
		{ipvs.UDP, "10.1.2.3:80", 3},
		{ipvs.SCTP, "10.1.2.3:80", 3},
		{ipvs.UDP, "10.1.2.3:81", 1},
		{ipvs.TCP, "10.2.0.0:80", 0},
		{ipvs.TCP, "[2001:db8::1]:53", 7},
		{ipvs.UDP, "[2001:db8::1]:53", 8},
	} {
		if got := m.Mark(test.protocol, netip.MustParseAddrPort(test.to)); got != test.want {
			t.Errorf("%s %s: mark %d, want %d", test.protocol, test.to, got, test.want)
		}
	}
}

func TestAddMarkRules(t *testing.T) {
	for _, test := range []struct{ name, have, add, err string }{
		{"apart", "192.0.2.1 tcp 80 1", "192.0.2.1 tcp 81 2", ""},
		{"inside", "192.0.2.1 tcp 80-90 1", "192.0.2.1 tcp 85 2", ""},
		{"around", "192.0.2.1 tcp 85 1", "192.0.2.1 tcp 80-90 2", ""},
		{"same beginning", "192.0.2.1 tcp 80-90 1", "192.0.2.1 tcp 80-85 2", ""},
		{"there already", "192.0.2.1 tcp 80-90 1", "192.0.2.1 tcp 80-90 1", ""},
		{"another protocol", "192.0.2.1 tcp 80 1", "192.0.2.1 udp 80 2", ""},
		{"no protocol", "192.0.2.1 tcp 80 1", "192.0.2.1 any 80 2", ""},
		{"another length", "192.0.2.0/24 tcp 80 1", "192.0.2.0/25 tcp 80 2", ""},
		{"same ports", "192.0.2.1 tcp 80 1", "192.0.2.1 tcp 80 2", "rule --vip 192.0.2.1 --proto tcp --ports 80 --mark 2 contradicts --vip 192.0.2.1 --proto tcp --ports 80 --mark 1: delete that one first"},
		{"all ports", "192.0.2.1 any -- 1", "192.0.2.1 any -- 2", "rule --vip 192.0.2.1 --mark 2 contradicts --vip 192.0.2.1 --mark 1: delete that one first"},
		{"some ports", "192.0.2.0/24 tcp 80-90 1", "192.0.2.0/24 tcp 85-95 2", "rule --vip 192.0.2.0/24 --proto tcp --ports 85-95 --mark 2 contradicts --vip 192.0.2.0/24 --proto tcp --ports 80-90 --mark 1: they share some ports, and neither has all of the other's"},
		{"no mark", "192.0.2.1 tcp 80 1", "192.0.2.1 tcp 81 0", "mark 0: it is that of packets without a mark; take one from 1 to 4294967295"},
		{"no ports", "192.0.2.1 tcp 80 1", "192.0.2.1 tcp 0 1", "ports 0: no service is there; name others, or 0-65535 for all"},
		{"host bits", "192.0.2.1 tcp 80 1", "192.0.2.1/24 tcp 81 1", "VIP 192.0.2.1/24: a network begins at 192.0.2.0/24; for one address leave out /24"},
		{"mapped", "192.0.2.1 tcp 80 1", "::ffff:192.0.2.1 tcp 81 1", "VIP ::ffff:192.0.2.1/128: neither an IPv4 nor an IPv6 address or network"},
	} {
		m := rules(t, test.have)
		_, err := m.Add(rule(t, "198.51.100.1 any -- 9"), rule(t, test.add))
		if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
			t.Errorf("%s: error is %v, want %s", test.name, err, test.err)
		}
		if diff := cmp.Diff([]ipvs.MarkRule{rule(t, test.have)}, m.All(), byAddress); err != nil && diff != "" {
			t.Errorf("%s: refused, yet (-before +after):\n%s", test.name, diff)
		}
	}
}

// What is deleted is named by all but its mark, and what is not there is no error.
func TestDeleteMarkRules(t *testing.T) {
	lines := []string{"192.0.2.1 any -- 1", "192.0.2.1 tcp 80-90 2", "192.0.2.1 tcp 85 3"}
	m := rules(t, lines...)
	deleted := m.Delete(rule(t, "192.0.2.1 tcp 80-90 9"), rule(t, "192.0.2.1 tcp 86 3"), rule(t, "192.0.2.0/24 any -- 1"))
	if diff := cmp.Diff([]ipvs.MarkRule{rule(t, lines[1])}, deleted, byAddress); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]ipvs.MarkRule{rule(t, lines[0]), rule(t, lines[2])}, m.All(), byAddress); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	m.Delete(m.All()...)
	if left := m.All(); len(left) > 0 || len(m.VIPs(netip.MustParsePrefix("0.0.0.0/0"))) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Of any rules, the steps say of each port what the rules say.
func TestMarkStepsAgree(t *testing.T) {
	for seed := range uint64(50) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var m ipvs.MarkRules
		for range 30 {
			_, _ = m.Add(randomRule(dice)) // many contradict each other
		}
		for range 10 {
			r := randomRule(dice)
			protocol := ipvs.Protocols[dice.IntN(3)]
			checkSteps(t, &m, r.VIP, protocol)
		}
	}
}

func randomRule(dice *rand.Rand) ipvs.MarkRule {
	bits := 28 + dice.IntN(5)
	first := uint16(1 + dice.IntN(40))
	if dice.IntN(4) == 0 {
		first = 65500 + uint16(dice.IntN(36))
	}
	last := first + uint16(dice.IntN(int(min(65535-first, 30))+1))
	return ipvs.MarkRule{
		VIP:      netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(dice.IntN(16))}), bits).Masked(),
		Protocol: []ipvs.Protocol{0, ipvs.TCP, ipvs.UDP}[dice.IntN(3)],
		Ports:    []ipvs.PortRange{{First: first, Last: last}, ipvs.AllPorts}[dice.IntN(8)/7],
		Mark:     1 + uint32(dice.IntN(3)),
	}
}

// checkSteps compares with the rules for exactly this VIP or networks around it.
func checkSteps(t *testing.T, m *ipvs.MarkRules, vip netip.Prefix, protocol ipvs.Protocol) {
	t.Helper()
	steps := m.MarkSteps(vip, protocol)
	var around ipvs.MarkRules
	for _, r := range m.All() {
		if r.VIP.Bits() <= vip.Bits() {
			if _, err := around.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range steps {
		if i == 0 && steps[i].Port != 0 || i > 0 && (steps[i].Port <= steps[i-1].Port || steps[i].Mark == steps[i-1].Mark) {
			t.Fatalf("steps %v", steps)
		}
	}
	for port, at := 0, 0; port <= 65535; port++ {
		if port == 100 { // no rule begins or ends from here on
			port = 65400
		}
		for at+1 < len(steps) && int(steps[at+1].Port) <= port {
			at++
		}
		to := netip.AddrPortFrom(vip.Addr(), uint16(port))
		if want := around.Mark(protocol, to); steps[at].Mark != want {
			t.Fatalf("%s %s: mark %d, want %d, by %v", protocol, to, steps[at].Mark, want, m.All())
		}
	}
}

func TestParsePorts(t *testing.T) {
	for text, want := range map[string]string{
		"":                "[0-65535]",
		"80":              "[80]",
		"80,443":          "[80 443]",
		"0,8000-8100,9-9": "[0 8000-8100 9]",
		"80,":             `ports "": "" is no port from 0 to 65535`,
		"65536":           `ports "65536": "65536" is no port from 0 to 65535`,
		"90-80":           `ports "90-80": the last comes before the first`,
		"-80":             `ports "-80": "" is no port from 0 to 65535`,
		"+80":             `ports "+80": "+80" is no port from 0 to 65535`,
		"http":            `ports "http": "http" is no port from 0 to 65535`,
	} {
		ranges, err := ipvs.ParsePorts(text)
		got := fmt.Sprint(ranges)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzMarkRules reads rules as a user and as another program writes them. What
// is taken comes back the same, and its steps agree with the rules.
func FuzzMarkRules(f *testing.F) {
	f.Add("192.0.2.1", "tcp", "80,443,8000-8100", uint32(1))
	f.Add("10.1.0.0/16", "", "", uint32(0xffffffff))
	f.Add("2001:db8::/64", "sctp", "0,1-65535", uint32(2))
	f.Fuzz(func(t *testing.T, vip, protocol, ports string, mark uint32) {
		var m ipvs.MarkRules
		r := ipvs.MarkRule{Mark: mark}
		var err error
		if r.VIP, err = ipvs.ParseMarkVIP(vip); err != nil {
			return
		}
		if protocol != "" && r.Protocol.UnmarshalText([]byte(protocol)) != nil {
			return
		}
		ranges, err := ipvs.ParsePorts(ports)
		if err != nil {
			return
		}
		for _, r.Ports = range ranges {
			before := m.All()
			if _, err := m.Add(r); err != nil {
				if diff := cmp.Diff(before, m.All(), byAddress); diff != "" {
					t.Fatalf("%s: refused, yet (-before +after):\n%s", r, diff)
				}
				continue
			}
			mustSurviveJSON(t, r)
			if got := m.Mark(ipvs.TCP, netip.AddrPortFrom(r.VIP.Addr(), r.Ports.First)); (r.Protocol == 0 || r.Protocol == ipvs.TCP) && got != mark {
				t.Fatalf("%s: mark %d", r, got)
			}
		}
		if deleted := m.Delete(m.All()...); len(m.All()) != 0 {
			t.Fatalf("of %v are left %v", deleted, m.All())
		}
	})
}

func mustSurviveJSON(t *testing.T, r ipvs.MarkRule) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again ipvs.MarkRule
	if err := json.Unmarshal(text, &again); err != nil || again != r {
		t.Fatalf("%s came back as %s: %v", r, again, err)
	}
}
