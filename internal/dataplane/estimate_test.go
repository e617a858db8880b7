// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// What the kernel's estimator shows after each two seconds.
func TestEstimator(t *testing.T) {
	for _, test := range []struct {
		name  string
		count ipvs.Stats // in each of the first periods
		first int
		shown func(*ipvs.Stats) uint64
		want  []uint64
	}{
		{"connections", ipvs.Stats{Conns: 2000}, 12, func(s *ipvs.Stats) uint64 { return s.Conns },
			[]uint64{250, 437, 578, 684, 763, 822, 867, 900, 925, 944, 958, 968, 726, 545, 409, 306, 230, 172, 129, 97, 73, 55, 41, 31}},
		{"bytes in", ipvs.Stats{InBytes: 2000000}, 10, func(s *ipvs.Stats) uint64 { return s.InBytes },
			[]uint64{250000, 437500, 578125, 683594, 762695, 822021, 866516, 899887, 924915, 943686, 707765, 530824, 398118, 298588}},
		{"bytes out", ipvs.Stats{OutBytes: 2000000}, 1, func(s *ipvs.Stats) uint64 { return s.OutBytes }, []uint64{250000, 187500}},
		// A real kernel after three periods (testdata/conns/stats-nat.json): the last of each.
		{"recorded bytes in", ipvs.Stats{InBytes: 620}, 1, func(s *ipvs.Stats) uint64 { return s.InBytes }, []uint64{77, 58, 44}},
		{"recorded bytes out", ipvs.Stats{OutBytes: 420}, 1, func(s *ipvs.Stats) uint64 { return s.OutBytes }, []uint64{52, 39, 30}},
		{"recorded packets in", ipvs.Stats{InPkts: 15}, 1, func(s *ipvs.Stats) uint64 { return s.InPkts }, []uint64{2, 1, 1}},
		{"recorded packets out", ipvs.Stats{OutPkts: 10}, 1, func(s *ipvs.Stats) uint64 { return s.OutPkts }, []uint64{1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var e estimator
			now := ipvs.Stats{Conns: 5, InBytes: ^uint64(0) - 1000} // counters may go round
			e.last = now
			var shown []uint64
			for i := range test.want {
				if i < test.first {
					now = now.Add(test.count)
				}
				e.estimate(now)
				shown = append(shown, test.shown(e.rate()))
			}
			if fmt.Sprint(shown) != fmt.Sprint(test.want) {
				t.Errorf("shown %d, want %d", shown, test.want)
			}
		})
	}
}

// Rates follow what a service and its destinations count, start anew at -Z, and
// totals do not wait for them.
func TestEstimate(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g", "-a -t 10.0.0.80:80 -r 192.168.1.12:80 -g")
	n := 0
	open := func(count int) {
		for range count {
			b.pick(n)
			n++
		}
	}
	check := func(when string, conns uint64, rates ...uint64) {
		t.Helper()
		s, err := b.Service(ipvs.Key{Protocol: ipvs.TCP, VIP: vip})
		if err != nil {
			t.Fatal(err)
		}
		got := []uint64{s.Rate.Conns}
		for _, dest := range s.Destinations {
			got = append(got, dest.Rate.Conns)
		}
		if fmt.Sprint(got) != fmt.Sprint(rates) || s.Stats.Conns != conns {
			t.Errorf("%s: rates %d, want %d; %d connections in all, want %d", when, got, rates, s.Stats.Conns, conns)
		}
	}
	open(160)
	check("before any estimation", 160, 0, 0, 0)
	b.Estimate()
	check("160 in two seconds", 160, 20, 10, 10)
	open(160)
	b.Estimate()
	check("as many again", 320, 35, 17, 17)
	open(40)
	b.apply("-Z")
	check("zeroed", 0, 0, 0, 0)
	open(40)
	b.Estimate()
	check("what came before counts for the period", 40, 10, 5, 5)
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
	open(80)
	b.Estimate()
	check("with one destination", 120, 17, 14)
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.Estimate()
	check("with both again", 120, 13, 4, 10)
	b.relearn(t)
	check("adopted", 120, 0, 0, 0)
	b.Estimate()
	check("adopted, and nothing counted", 120, 0, 0, 0)
	open(8)
	b.Estimate()
	check("adopted, and eight connections", 128, 1, 0, 0)
}

// All counters are read, however many, and each by its own index.
func TestCountAll(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr")
	if counts := b.countAll(); len(counts) != 0 {
		t.Errorf("%d counted of nothing", len(counts))
	}
	var lines []string
	for i := range countChunk + countChunk/2 {
		lines = append(lines, fmt.Sprintf("-a -t 10.0.0.80:80 -r 192.168.%d.%d:80 -g", 1+i/250, 1+i%250))
	}
	b.apply(lines...)
	for n := range 2*countChunk + 10 {
		b.send(clientMAC, tcp(clientNumber(n), vip, "S"))
	}
	counts := b.countAll()
	var conns uint64
	for _, dest := range b.byKey[ipvs.Key{Protocol: ipvs.TCP, VIP: vip}].dests {
		conns += counts[dest.index].Sub(fromStats(b.bases.at[dest.index])).Conns
		if got := b.counted(dest.index); got != counts[dest.index] {
			t.Errorf("%s: %+v, and all at once %+v", dest.rip, got, counts[dest.index])
		}
	}
	if conns != 2*countChunk+10 {
		t.Errorf("%d connections counted, want %d", conns, 2*countChunk+10)
	}
}
