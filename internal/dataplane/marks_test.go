// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// markBy adds a rule.
func (b *bench) markBy(r ipvs.MarkRule) {
	b.t.Helper()
	if err := b.AddMarkRules(r); err != nil {
		b.t.Fatal(err)
	}
}

// markRule reads "VIP PROTO PORTS MARK"; any and all stand for what is not named.
func markRule(t *testing.T, text string) ipvs.MarkRule {
	t.Helper()
	words := strings.Fields(text)
	vip, err := ipvs.ParseMarkVIP(words[0])
	if err != nil {
		t.Fatal(err)
	}
	r := ipvs.MarkRule{VIP: vip, Ports: ipvs.AllPorts}
	if words[1] != "any" {
		if err := r.Protocol.UnmarshalText([]byte(words[1])); err != nil {
			t.Fatal(err)
		}
	}
	if words[2] != "all" {
		if r.Ports, err = ipvs.ParsePortRange(words[2]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Sscan(words[3], &r.Mark); err != nil {
		t.Fatal(err)
	}
	return r
}

// asMarkRule is the rule that marks as the expression of nft does.
func asMarkRule(t *testing.T, match string, mark uint32) ipvs.MarkRule {
	t.Helper()
	found := regexp.MustCompile(`^ip6? daddr (\S+)(?: (tcp|udp|sctp) dport (\S+))?$`).FindStringSubmatch(match)
	if found == nil {
		t.Fatalf("%s: no such expression is understood", match)
	}
	protocol, ports := found[2], found[3]
	if protocol == "" {
		protocol, ports = "any", "all"
	}
	return markRule(t, fmt.Sprintf("%s %s %s %d", found[1], protocol, ports, mark))
}

// markAsNoted marks as a recording says in words.
func (b *bench) markAsNoted(t *testing.T, note string) {
	t.Helper()
	if found := regexp.MustCompile(`^packets to (\S+) carry mark (\d+)$`).FindStringSubmatch(note); found != nil {
		b.markBy(markRule(t, found[1]+" any all "+found[2]))
	}
}

// markOf sends a datagram and tells by the real server that it reaches which mark
// it had: 0 is that of an address service, or of none.
func (b *bench) markOf(protocol ipvs.Protocol, to netip.AddrPort) int {
	b.t.Helper()
	from := netip.MustParseAddrPort("172.16.0.5:40000")
	packet := udp(from, to, 'x')
	if protocol == ipvs.TCP {
		packet = tcp(from, to, "S")
	}
	o := b.send(clientMAC, packet)
	if o.mac == nil {
		return 0
	}
	return int(o.mac[5]) - 0x10
}

// marked makes a service for each of the marks 1 to 4, and one for address and
// port, which marks come before.
func marked(t *testing.T) *bench {
	t.Helper()
	lines := []string{"-A -u 10.0.0.80:53 -s rr -o", "-a -u 10.0.0.80:53 -r 192.168.1.10 -g"}
	for mark := 1; mark <= 4; mark++ {
		lines = append(lines, fmt.Sprintf("-A -f %d -s rr -o", mark), fmt.Sprintf("-a -f %d -r 192.168.1.1%d -g", mark, mark))
	}
	return newBench(t, lines...)
}

func TestMarkedServiceComesFirst(t *testing.T) {
	b := marked(t)
	vip := netip.MustParseAddrPort("10.0.0.80:53")
	b.markBy(markRule(t, "10.0.0.80 tcp all 1"))
	if got := b.markOf(ipvs.UDP, vip); got != 0 {
		t.Errorf("a rule for TCP: mark %d", got)
	}
	b.markBy(markRule(t, "10.0.0.80 udp 53 2"))
	if got := b.markOf(ipvs.UDP, vip); got != 2 {
		t.Errorf("a rule for it: mark %d", got)
	}
	b.apply("-D -f 2")
	if got := b.markOf(ipvs.UDP, vip); got != 0 {
		t.Errorf("a mark without a service: mark %d", got)
	}
	if o := b.send(clientMAC, udp(netip.MustParseAddrPort("172.16.0.5:40000"), netip.MustParseAddrPort("10.0.0.80:54"), 'x')); o.verdict != "not-ours" {
		t.Errorf("no rule and no service: %s", o.verdict)
	}
}

// Of any rules, the datapath finds the mark that they say, before and after
// changes and another start.
func TestMarksAgree(t *testing.T) {
	b := marked(t)
	dice := rand.New(rand.NewPCG(3, 4))
	var rules ipvs.MarkRules
	for round := range 30 {
		for range 10 {
			r := randomMarkRule(dice)
			_, wanted := rules.Add(r)
			if err := b.AddMarkRules(r); (err == nil) != (wanted == nil) {
				t.Fatalf("%s: %v, want %v", r, err, wanted)
			}
		}
		for range 5 {
			r := randomMarkRule(dice)
			n, err := b.DeleteMarkRules(r)
			if want := len(rules.Delete(r)); n != want || err != nil {
				t.Fatalf("deleted %d, %v; want %d", n, err, want)
			}
		}
		if round%10 == 9 {
			b.relearn(t)
			b.resolve()
		}
		if diff := cmp.Diff(rules.All(), b.MarkRules(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("rules (-want +got):\n%s", diff)
		}
		for range 100 {
			r := randomMarkRule(dice)
			to := netip.AddrPortFrom(r.VIP.Addr(), []uint16{r.Ports.First, r.Ports.Last, r.Ports.Last + 1}[dice.IntN(3)])
			if got, want := b.markOf(ipvs.UDP, to), int(rules.Mark(ipvs.UDP, to)); got != want {
				t.Fatalf("%s: mark %d, want %d, by %v", to, got, want, rules.All())
			}
		}
	}
	if _, err := b.DeleteMarkRules(b.MarkRules()...); err != nil {
		t.Fatal(err)
	}
	b.reapMarks(time.Now())
	b.checkNoMarks()
}

func randomMarkRule(dice *rand.Rand) ipvs.MarkRule {
	first := uint16(1 + dice.IntN(40))
	return ipvs.MarkRule{
		VIP:      netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 8, byte(dice.IntN(32))}), 27+dice.IntN(6)).Masked(),
		Protocol: []ipvs.Protocol{0, ipvs.TCP, ipvs.UDP, ipvs.UDP}[dice.IntN(4)],
		Ports:    []ipvs.PortRange{{First: first, Last: first + uint16(dice.IntN(30))}, {First: first, Last: first}, ipvs.AllPorts}[dice.IntN(3)],
		Mark:     1 + uint32(dice.IntN(4)),
	}
}

// checkNoMarks fails if anything is left in maps and filter.
func (b *bench) checkNoMarks() {
	b.t.Helper()
	if len(b.marks.lists) > 0 || len(b.marks.vips) > 0 || len(b.marks.free) != len(b.markRules.at) {
		b.t.Errorf("left: lists %v, VIPs %v, %d places", b.marks.lists, b.marks.vips, len(b.markRules.at)-len(b.marks.free))
	}
	if o := b.send(clientMAC, udp(netip.MustParseAddrPort("172.16.0.5:40000"), netip.MustParseAddrPort("10.9.8.1:53"), 'x')); o.verdict != "not-ours" {
		b.t.Errorf("without rules: %s", o.verdict)
	}
}

// A search among as many steps as there can be finds each.
func TestMarksOfEveryPort(t *testing.T) {
	b := marked(t)
	var rules []ipvs.MarkRule
	for port := range 8000 {
		ports := ipvs.PortRange{First: uint16(8 * port), Last: uint16(8*port + 4)}
		rules = append(rules, ipvs.MarkRule{VIP: netip.MustParsePrefix("10.9.8.7/32"), Protocol: ipvs.UDP, Ports: ports, Mark: 1 + uint32(port%4)})
	}
	if err := b.AddMarkRules(rules...); err != nil {
		t.Fatal(err)
	}
	for port := 0; port < 65536; port += 3 {
		want := 1 + port/8%4
		if port%8 > 4 || port >= 64000 {
			want = 0
		}
		if got := b.markOf(ipvs.UDP, netip.AddrPortFrom(netip.MustParseAddr("10.9.8.7"), uint16(port))); got != want {
			t.Fatalf("port %d: mark %d, want %d", port, got, want)
		}
	}
}

// Connections that came by a rule outlive it, another start included, and its
// VIP is forgotten after the last.
func TestMarkedConnectionsOutliveTheRule(t *testing.T) {
	b := marked(t)
	r := markRule(t, "10.9.8.0/24 tcp 80 3")
	b.markBy(r)
	client, vip := netip.MustParseAddrPort("172.16.0.5:40000"), netip.MustParseAddrPort("10.9.8.7:80")
	send := func(flags string) string { return b.send(clientMAC, tcp(client, vip, flags)).verdict }
	if got := send("S"); got != "route" {
		t.Fatalf("SYN: %s", got)
	}
	if n, err := b.DeleteMarkRules(r); n != 1 || err != nil {
		t.Fatalf("deleted %d, %v", n, err)
	}
	b.reapMarks(time.Now())
	if got := send("A"); got != "route" {
		t.Errorf("after the rule: %s", got)
	}
	b.relearn(t)
	b.resolve()
	b.reapMarks(time.Now())
	if got := send("A"); got != "route" {
		t.Errorf("after another start: %s", got)
	}
	b.pass(time.Hour)
	b.ageAll()
	b.reapMarks(time.Now())
	if got := send("A"); got != "not-ours" || len(b.marks.vips) > 0 {
		t.Errorf("after the connection: %s", got)
	}
}

// When there is no room, nothing changes.
func TestNoRoomForMarks(t *testing.T) {
	b := marked(t)
	b.markBy(markRule(t, "10.9.8.0/24 udp 53 1"))
	free, left := b.marks.free, b.marks.regions
	try := func(what, want string) {
		t.Helper()
		err := b.AddMarkRules(markRule(t, "10.9.8.7 any 53 2"), markRule(t, "10.9.8.8 any 53 2"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s: %v, want %q", what, err, want)
		}
		if got := b.markOf(ipvs.UDP, netip.MustParseAddrPort("10.9.8.7:53")); got != 1 || len(b.MarkRules()) != 1 {
			t.Errorf("no %s: mark %d, %d rules", what, got, len(b.MarkRules()))
		}
	}
	b.marks.free = slices.Clone(free[:1])
	try("places", "no room for more than 16384 mark rules")
	b.marks.free = slices.Clone(free)
	b.marks.regions = regions{end: 16}
	try("steps", "no room for more than 262144 changes of mark")
	b.marks.regions = left
}
