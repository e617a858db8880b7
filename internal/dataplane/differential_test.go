// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/reference"
)

// fuzzedPackets is how many are sent, in scenarios of fuzzedScenario each.
const (
	fuzzedPackets  = 10_000_000
	fuzzedScenario = 500_000
)

// Whatever arrives, the datapath decides, counts and sends byte for byte what
// the reference director does. LVSX_SEED repeats a run.
func TestDifferential(t *testing.T) {
	seed := seedOf(t)
	workers := runtime.GOMAXPROCS(0)
	scenarios := fuzzedPackets / fuzzedScenario / workers
	size := fuzzedScenario
	if testing.Short() {
		scenarios, size = 1, size/10
	}
	var pairs []*pair
	t.Run("both", func(t *testing.T) { // ends when all workers have
		for worker := range workers {
			t.Run(fmt.Sprintf("datapath %d", worker), func(t *testing.T) {
				p := newPair(t, 1<<17)
				pairs = append(pairs, p)
				t.Parallel()
				f := newFuzzer(rand.New(rand.NewPCG(seed, uint64(worker))))
				for range scenarios {
					if wrong := p.fuzz(f, size); wrong != "" {
						t.Fatalf("LVSX_SEED=%d: %s", seed, wrong)
					}
				}
				p.checkVerdicts()
			})
		}
	})
	if !testing.Short() && !t.Failed() {
		checkReached(t, pairs)
	}
}

// checkReached looks whether each verdict that the model knows was tried often
// enough.
func checkReached(t *testing.T, pairs []*pair) {
	t.Helper()
	for _, verdict := range reference.Verdicts {
		total := uint64(0)
		for _, p := range pairs {
			total += p.sent[slices.Index(verdictNames[:], string(verdict))]
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
	for _, line := range append(fuzzedTable6(), fuzzedTable...) {
		if wrong := p.command("ipvsadm " + line); wrong != "" {
			return wrong
		}
	}
	for i := range packets {
		switch i % 1000 {
		case 0:
			p.passBoth(p.clock.ticks(time.Second))
			p.play(draw(maker{f.Rand, false}, "icmp-limit 0 0", "icmp-limit 0 0", "icmp-limit 0 0", "icmp-limit 50 20"))
			p.play(draw(maker{f.Rand, false}, "set nat_icmp_send 0", "set nat_icmp_send 1"))
		case 300: // connections lose their server and find it again
			p.command("ipvsadm -d -t 10.0.0.84:80 -r 192.168.1.17:80")
			p.command("ipvsadm -d -u [2001:db8::84]:80 -r [2001:db8:1::17]:80")
		case 600:
			p.command("ipvsadm -a -t 10.0.0.84:80 -r 192.168.1.17:80 -m")
			p.command("ipvsadm -a -u [2001:db8::84]:80 -r [2001:db8:1::17]:80 -g")
		}
		b := f.frame()
		if len(b) < 14 || len(b) > 3400 { // what BPF_PROG_TEST_RUN takes
			continue
		}
		if _, wrong := p.both(b); wrong != "" {
			return fmt.Sprintf("packet %d, %x: %s", i, b, wrong)
		}
	}
	return p.compare()
}
