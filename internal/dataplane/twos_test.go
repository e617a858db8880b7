// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// draw takes the server that a client got for the recorded one, if it is one
// with weight, and throws the dice for the next client.
func (p *player) draw(s traceStep, o outcome) traceStep {
	p.throw(p.dice.Uint32())
	got := p.server(o)
	for _, service := range p.table.Services {
		for _, d := range service.Destinations {
			if d.RIP.String() == got && d.Weight > 0 {
				s.Server = &got
			}
		}
	}
	return s
}

// diffShares compares two listings but for the numbers of connections. Those may
// differ by a few, more of them being counted in all.
func diffShares(want, got string) string {
	wantTable, wantCounts := cutCounts(want)
	gotTable, gotCounts := cutCounts(got)
	if diff := cmp.Diff(wantTable, gotTable); diff != "" {
		return "(-want +got):\n" + diff
	}
	total := 0
	for _, n := range wantCounts {
		total += n
	}
	for i := range wantCounts {
		if difference := wantCounts[i] - gotCounts[i]; total > 300 && difference*difference > total {
			return fmt.Sprintf("connections are shared out as %v, want about %v", gotCounts, wantCounts)
		}
	}
	return ""
}

// cutCounts takes ActiveConn and InActConn out of a listing and sums them up.
func cutCounts(listing string) (table []string, counts []int) {
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		if len(words) == 6 && words[0] == "->" && words[1] != "RemoteAddress:Port" {
			active, _ := strconv.Atoi(words[4])
			inactive, _ := strconv.Atoi(words[5])
			counts = append(counts, active+inactive)
			words = words[:4]
		}
		table = append(table, strings.Join(words, " "))
	}
	return table, counts
}

// twosModel is the kernel's twos, with the dice of bpf/packet.h: roll().
type twosModel struct {
	dests []twosDest // newest first
}

type twosDest struct{ weight, total, active int64 }

func (m *twosModel) pick(dice uint32) int {
	var sum int64
	for _, d := range m.dests {
		sum += d.weight
	}
	if sum == 0 {
		return -1
	}
	var drawn [2]int
	for i := range drawn {
		left := int64(uint64(dice) * uint64(sum+1) >> 32)
		drawn[i] = -1
		for at, d := range m.dests {
			if left -= d.weight; d.weight > 0 && left <= 0 {
				drawn[i] = at
				break
			}
		}
		dice = dice*747796405 + 2891336453
	}
	a, b := &m.dests[drawn[0]], &m.dests[drawn[1]]
	overhead := func(d *twosDest) int64 { return d.active<<8 + d.total }
	if b.weight*overhead(a) > a.weight*overhead(b) {
		drawn[0], a = drawn[1], b
	}
	a.total++
	a.active++
	return drawn[0]
}

// The dice known, so is the choice.
func TestTwosOfModel(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, weights := range [][]int64{{1}, {1, 1}, {1, 2, 3}, {0, 5, 0, 1}, {100, 1, 1000, 7, 0, 3}, {0, 0}, {1 << 30, 1 << 30, 1 << 30, 1 << 30}} {
		b := newBench(t, "-A -t 10.0.0.80:80 -s twos")
		m := &twosModel{dests: make([]twosDest, len(weights))}
		for i, w := range weights {
			b.apply(fmt.Sprintf("-a -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d", i+1, w))
			m.dests[len(weights)-1-i].weight = w
		}
		for n := range 300 {
			dice := random.Uint32()
			b.throw(dice)
			want := 0
			if at := m.pick(dice); at >= 0 {
				want = len(weights) - at
			}
			if got := b.pick(n); got != want {
				t.Fatalf("weights %v, connection %d: server %d, want %d", weights, n, got, want)
			}
		}
	}
}

// Nobody is drawn who is full.
func TestTwosThresholds(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s twos", "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g -x 3", "-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g -x 5")
	random := rand.New(rand.NewPCG(9, 10))
	got := make(map[int]int)
	for n := range 12 {
		b.throw(random.Uint32())
		got[b.pick(n)]++
	}
	if diff := cmp.Diff(map[int]int{0: 4, 1: 3, 2: 5}, got); diff != "" {
		t.Errorf("connections of each server (-want +got):\n%s", diff)
	}
}
