// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/reference"
	"github.com/lvsx/lvsx/internal/testenv"
)

// fuzzedPackets is how many are sent, in scenarios of fuzzedScenario each.
const (
	fuzzedPackets  = 10_000_000
	fuzzedScenario = 500_000
)

// Whatever arrives, the datapath decides, counts and sends byte for byte what
// the reference director does. LVSX_SEED repeats a run.
func TestDifferential(t *testing.T) {
	seed := testenv.Seed(t)
	scenarios, size := fuzzedPackets/fuzzedScenario, fuzzedScenario
	if testing.Short() {
		scenarios, size = fuzzedPairs, size/20
	}
	var pairs []*pair
	t.Run("both", func(t *testing.T) { // ends when all workers have
		for worker := range fuzzedPairs {
			t.Run(fmt.Sprintf("datapath %d", worker), func(t *testing.T) {
				p := newPair(t, 1<<17)
				pairs = append(pairs, p)
				t.Parallel()
				for n := worker; n < scenarios; n += fuzzedPairs {
					f := newFuzzer(rand.New(rand.NewPCG(seed, uint64(n))))
					if wrong := p.fuzz(f, size); wrong != "" {
						t.Fatalf("LVSX_SEED=%d, scenario %d: %s", seed, n, wrong)
					}
				}
			})
		}
		t.Run("full table", func(t *testing.T) {
			p := newPair(t, 64)
			pairs = append(pairs, p)
			t.Parallel()
			p.model.Room = Room(64)
			if wrong := p.fuzz(newFuzzer(rand.New(rand.NewPCG(seed, math.MaxUint64))), size/5); wrong != "" {
				t.Fatalf("LVSX_SEED=%d, full table: %s", seed, wrong)
			}
		})
	})
	if !testing.Short() && !t.Failed() {
		checkReached(t, pairs)
	}
}

// checkReached looks whether each verdict was tried often enough.
func checkReached(t *testing.T, pairs []*pair) {
	t.Helper()
	for i, verdict := range verdictNames {
		total := uint64(0)
		for _, p := range pairs {
			total += p.sum.reached[i]
		}
		if total < 1000 {
			t.Errorf("only %d packets are %s", total, verdict)
		}
		t.Logf("%s: %d", verdict, total)
	}
}

// fuzz sends packets to a fresh table and says what went wrong.
func (p *pair) fuzz(f *fuzzer, packets int) string {
	p.empty()
	if wrong := p.furnish(); wrong != "" {
		return wrong
	}
	if p.model.Room > 0 {
		if wrong := p.fill(); wrong != "" {
			return wrong
		}
	}
	for i := range packets {
		if wrong := p.meddle(f, i); wrong != "" {
			return fmt.Sprintf("packet %d: %s", i, wrong)
		}
		if wrong := p.disturb(f, i, packets); wrong != "" {
			return fmt.Sprintf("packet %d: %s", i, wrong)
		}
		b, send := f.frame(), p.both
		if f.IntN(20) == 0 {
			b, send = f.ownFrame(), p.bothOut
		}
		if len(b) < 14 || len(b) > 3400 { // what BPF_PROG_TEST_RUN takes
			continue
		}
		if _, wrong := send(b); wrong != "" {
			return fmt.Sprintf("packet %d, %x: %s", i, b, wrong)
		}
	}
	return p.end()
}

// furnish makes the services that fuzzed packets are sent to.
func (p *pair) furnish() string {
	for _, line := range slices.Concat(fuzzedTable, fuzzedTable6()) {
		if wrong := p.command("ipvsadm " + line); wrong != "" {
			return wrong
		}
	}
	for _, line := range fuzzedMarks {
		if wrong := p.play(line); wrong != "" {
			return wrong
		}
	}
	for _, service := range []string{"-t 10.0.0.91:80", "-u 10.0.0.91:80", "-t [2001:db8::91]:80", "-u [2001:db8::91]:80"} {
		if wrong := p.play("lvsx service set " + service + " --removed reset"); wrong != "" {
			return wrong
		}
	}
	return ""
}

// fill opens connections until the table is full of established ones, which no
// fuzzed packet is of.
func (p *pair) fill() string {
	for n := range p.model.Room + 1 {
		c := addrPort(203, 0, byte(113+n>>8), byte(n), 7)
		for _, flags := range []string{"S", "A"} {
			verdict, wrong := p.both(frame(clientMAC, tcp(c, fillingVIP, flags)))
			if isFull := verdict == reference.TableFull; wrong == "" && flags == "S" && isFull != (n == p.model.Room) {
				wrong = string(verdict)
			}
			if wrong != "" {
				return fmt.Sprintf("connection %d: %s", n, wrong)
			}
		}
	}
	return ""
}

// What happens to servers and connections between packets.
var (
	losing = []string{
		"ipvsadm -d -t 10.0.0.84:80 -r 192.168.1.17:80", "ipvsadm -d -u [2001:db8::84]:80 -r [2001:db8:1::17]:80",
		"ipvsadm -d -t 10.0.0.91:80 -r 192.168.1.19:80", "ipvsadm -d -u [2001:db8::91]:80 -r [2001:db8:1::19]:80",
	}
	finding = []string{
		"ipvsadm -a -t 10.0.0.84:80 -r 192.168.1.17:80 -m", "ipvsadm -a -u [2001:db8::84]:80 -r [2001:db8:1::17]:80 -g",
		"ipvsadm -a -t 10.0.0.91:80 -r 192.168.1.19:80 -g", "ipvsadm -a -u [2001:db8::91]:80 -r [2001:db8:1::19]:80 -g",
	}
	killing = []string{"lvsx connections kill --vip 10.0.0.90:80", "lvsx connections kill --vip [2001:db8::90]:80"}
)

// disturb does what is due once in a scenario of so many packets, and readmits
// fragments.
func (p *pair) disturb(f *fuzzer, packet, of int) string {
	switch packet {
	case of / 4:
		return p.flood()
	case of / 2:
		return errorText(p.without(programOrder[1:]...))
	case of/2 + 1000:
		return errorText(p.without(programOrder[1+f.IntN(len(programOrder)-1):]...))
	case of/2 + 3000:
		return errorText(p.without())
	}
	if packet%100 > 0 {
		return ""
	}
	return p.readmitBoth()
}

// flood sends more early fragments than are kept at once.
func (p *pair) flood() string {
	later := inFragments(udp(addrPort(203, 0, 113, 9, 7), natVIP, make([]byte, 32)...), 9, 16)[1]
	for range 600 {
		if _, wrong := p.both(frame(clientMAC, later)); wrong != "" {
			return "flood: " + wrong
		}
	}
	return ""
}

// meddle plays what is due before a packet.
func (p *pair) meddle(f *fuzzer, packet int) string {
	var lines []string
	switch packet % 1000 {
	case 0:
		lines = []string{
			"wait 1s", choose(f, "fronts 0", "fronts 1"), choose(f, "icmp-limit 0 0", "icmp-limit 0 0", "icmp-limit 0 0", "icmp-limit 50 20"),
			choose(f, "set nat_icmp_send 0", "set nat_icmp_send 1"), choose(f, "set schedule_icmp 0", "set schedule_icmp 1"),
		}
	case 300:
		lines = losing
	case 450:
		lines = killing
	case 600:
		lines = finding
	case 700:
		lines = []string{"set am_droprate 9", "set drop_packet 3", choose(f, "set cache_bypass 0", "set cache_bypass 1")}
	case 800:
		lines = []string{"set drop_packet 0"}
	}
	for _, line := range lines {
		if wrong := p.play(line); wrong != "" {
			return line + ": " + wrong
		}
	}
	return ""
}
