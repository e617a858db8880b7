// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// EstimateInterval is how often to call Estimate.
const EstimateInterval = 2 * time.Second

// estimator follows counters as the kernel does (ip_vs_est.c): averages in which
// the newest two seconds weigh a quarter.
type estimator struct {
	last    ipvs.Stats // counters at the last estimation
	average ipvs.Stats // per second, in fixed point
}

// How many bits of an average are a fraction.
const (
	countScale = 10 // of connections and packets
	byteScale  = 5
)

func (e *estimator) estimate(now ipvs.Stats) {
	since := now.Sub(e.last)
	e.last = now
	follow(&e.average.Conns, since.Conns, countScale)
	follow(&e.average.InPkts, since.InPkts, countScale)
	follow(&e.average.OutPkts, since.OutPkts, countScale)
	follow(&e.average.InBytes, since.InBytes, byteScale)
	follow(&e.average.OutBytes, since.OutBytes, byteScale)
}

// follow moves an average a quarter of the way to what was counted in two
// seconds.
func follow(average *uint64, count uint64, scale int) {
	*average += uint64((int64(count<<(scale-1)) - int64(*average)) >> 2)
}

// rate returns the averages per second, rounded.
func (e *estimator) rate() *ipvs.Stats {
	round := func(average uint64, scale int) uint64 { return (average + 1<<(scale-1) - 1) >> scale }
	return &ipvs.Stats{
		Conns:    round(e.average.Conns, countScale),
		InPkts:   round(e.average.InPkts, countScale),
		OutPkts:  round(e.average.OutPkts, countScale),
		InBytes:  round(e.average.InBytes, byteScale),
		OutBytes: round(e.average.OutBytes, byteScale),
	}
}

// Estimate brings the rates of all services and destinations up to date.
func (d *Dataplane) Estimate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isOn("run_estimation") {
		return
	}
	counts := d.countAll()
	for _, s := range d.byKey {
		for _, dest := range s.dests {
			dest.estimator.estimate(counts[dest.index])
		}
		s.estimator.estimate(d.sum(s, counts))
	}
}

// startEstimating makes the rates of what was adopted begin at zero.
func (d *Dataplane) startEstimating() {
	counts := d.countAll()
	for _, s := range d.byKey {
		for _, dest := range s.dests {
			dest.estimator.last = counts[dest.index]
		}
		s.estimator.last = d.sum(s, counts)
	}
}

// sum returns what a service has counted since it was made or zeroed.
func (d *Dataplane) sum(s *service, counts []ipvs.Stats) ipvs.Stats {
	sum := fromStats(d.carries.at[s.index])
	for _, dest := range s.dests {
		sum = sum.Add(counts[dest.index])
	}
	return sum
}

// countChunk is how many destinations' counters one system call reads.
const countChunk = 1024

// countAll returns what the datapath counted for each destination's entry, up to
// the last one in use, since the maps were made.
func (d *Dataplane) countAll() []ipvs.Stats {
	end := 0
	for _, s := range d.byKey {
		for _, dest := range s.dests {
			end = max(end, int(dest.index)+1)
		}
	}
	cpus := ebpf.MustPossibleCPU()
	counts := make([]ipvs.Stats, 0, end+countChunk)
	indices, perCPU := make([]uint32, min(end, countChunk)), make([]directorStats, min(end, countChunk)*cpus)
	var cursor ebpf.MapBatchCursor
	for len(counts) < end {
		n, err := d.maps.DestStats.BatchLookup(&cursor, indices, perCPU, nil)
		if err != nil && (!errors.Is(err, ebpf.ErrKeyNotExist) || n == 0) {
			panic(fmt.Sprintf("read counters of destinations: %v", err)) // an array has all its entries
		}
		for i := range n {
			var sum ipvs.Stats
			for _, s := range perCPU[i*cpus : (i+1)*cpus] {
				sum = sum.Add(fromStats(s))
			}
			counts = append(counts, sum)
		}
	}
	return counts
}
