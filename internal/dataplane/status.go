// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// counted returns what the datapath counted for a destination's entry since the
// maps were made.
func (d *Dataplane) counted(index uint32) ipvs.Stats {
	var perCPU []directorStats
	var sum ipvs.Stats
	if err := d.maps.DestStats.Lookup(index, &perCPU); err != nil {
		panic(fmt.Sprintf("read counters of destination %d: %v", index, err)) // an array has all its entries
	}
	for _, s := range perCPU {
		sum = sum.Add(fromStats(s))
	}
	return sum
}

// carry takes what a destination has counted out of its service's sum when it
// comes (-1), and leaves it in when it goes (+1).
func (d *Dataplane) carry(s *service, counted ipvs.Stats, sign int) {
	carry := fromStats(d.carries.at[s.index])
	if sign < 0 {
		carry = carry.Sub(counted)
	} else {
		carry = carry.Add(counted)
	}
	d.carries.at[s.index] = toStats(carry)
}

// zero makes counters start anew, of one service or of all.
func (d *Dataplane) zero(key ipvs.Key) error {
	if key != (ipvs.Key{}) {
		d.zeroService(d.byKey[key])
		return nil
	}
	for _, s := range d.byKey {
		d.zeroService(s)
	}
	return nil
}

func (d *Dataplane) zeroService(s *service) {
	sum := fromStats(d.carries.at[s.index])
	var carry ipvs.Stats
	for _, dest := range s.dests {
		counted := d.counted(dest.index)
		d.bases.at[dest.index] = toStats(counted)
		dest.estimator.average = ipvs.Stats{}
		sum, carry = sum.Add(counted), carry.Sub(counted)
	}
	d.carries.at[s.index] = toStats(carry)
	s.estimator = estimator{last: s.estimator.last.Sub(sum)}
}

// Table returns a copy of what is configured.
func (d *Dataplane) Table() ipvs.Table {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table.Clone()
}

// Services returns all services and what was observed of them, in the order of
// their creation. Connections whose time is over are not counted any more.
func (d *Dataplane) Services() []ipvs.ServiceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire()
	counts := d.countAll()
	counted := func(index uint32) ipvs.Stats { return counts[index] }
	statuses := make([]ipvs.ServiceStatus, len(d.table.Services))
	for i := range d.table.Services {
		statuses[i] = d.status(&d.table.Services[i], counted)
	}
	return statuses
}

// Service returns one service, or an *ipvs.Refusal with ESRCH.
func (d *Dataplane) Service(key ipvs.Key) (ipvs.ServiceStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	config := d.table.Find(key)
	if config == nil {
		return ipvs.ServiceStatus{}, &ipvs.Refusal{Errno: syscall.ESRCH}
	}
	d.expire()
	return d.status(config, d.counted), nil
}

func (d *Dataplane) status(config *ipvs.Service, counted func(index uint32) ipvs.Stats) ipvs.ServiceStatus {
	s := d.byKey[config.Key]
	status := ipvs.ServiceStatus{Service: *config, Stats: fromStats(d.carries.at[s.index]), Rate: s.estimator.rate()}
	status.Service.Destinations = nil
	status.Destinations = make([]ipvs.DestinationStatus, len(s.dests))
	for i, dest := range s.dests {
		stats := counted(dest.index)
		status.Stats = status.Stats.Add(stats)
		active, total := d.loadOf(dest.index)
		status.Destinations[i] = ipvs.DestinationStatus{
			Destination: config.Destinations[i],
			Active:      active,
			Inactive:    total - min(active, total),
			Persistent:  atomic.LoadUint32(&d.loads.at[dest.index].Persistent),
			Stats:       stats.Sub(fromStats(d.bases.at[dest.index])),
			Rate:        dest.estimator.rate(),
		}
	}
	return status
}
