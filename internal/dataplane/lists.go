// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/sched"
)

// idleList returns the list of the two that the datapath does not read.
func (d *Dataplane) idleList(s *service) uint32 {
	return d.services.at[s.index].List ^ 1
}

// reserve makes room for count slots and the scheduler's table in the service's
// idle list.
func (d *Dataplane) reserve(s *service, count int, scheduler directorScheduler) bool {
	list := &d.lists.at[d.idleList(s)]
	return d.reserveSlots(list, count) && d.reserveTable(list, scheduler)
}

func (d *Dataplane) reserveSlots(list *directorList, count int) bool {
	if list.Room >= uint32(count) && list.Room > 0 {
		return true
	}
	now := time.Now()
	size := regionSize(count)
	first, ok := d.regions.take(size, now)
	if !ok {
		return false
	}
	d.regions.giveBack(list.First, list.Room, now)
	list.First, list.Room = first, size
	return true
}

// relist writes the service's destinations anew. moved says where rr's cursor is
// after the change.
func (d *Dataplane) relist(s *service, moved func(sched.Cursor) sched.Cursor) {
	entry := &d.services.at[s.index]
	sum := d.writeList(s, entry.Scheduler)
	switch entry.Scheduler {
	case directorSchedulerSCHEDULER_RR:
	case directorSchedulerSCHEDULER_WRR:
		moved = func(c sched.Cursor) sched.Cursor { return sched.ChangeWRR(c, sum) }
	default:
		return
	}
	for {
		old := atomic.LoadUint64(&entry.Cursor)
		if atomic.CompareAndSwapUint64(&entry.Cursor, old, packCursor(moved(unpackCursor(old)))) {
			return
		}
	}
}

// writeList writes the service's destinations and the scheduler's table to the
// idle list, which has room reserved, and switches to it.
func (d *Dataplane) writeList(s *service, scheduler directorScheduler) sched.List {
	index := d.idleList(s)
	list := &d.lists.at[index]
	weights := d.weights(s)
	for i, dest := range s.dests {
		d.slots.at[list.First+uint32(i)] = directorSlot{Dest: dest.index, Weight: weights[i]}
	}
	sum := sched.Weigh(weights)
	list.Count, list.Gcd, list.MaxWeight = uint32(len(weights)), uint32(sum.GCD), sum.MaxWeight
	d.writeTable(list, s, scheduler)
	atomic.StoreUint32(&d.services.at[s.index].List, index)
	return sum
}

// startCursor returns where a scheduler starts on a list.
func startCursor(scheduler directorScheduler, list directorList) uint64 {
	switch {
	case isCaching(scheduler):
		return newCache()
	case scheduler == directorSchedulerSCHEDULER_WRR:
		return packCursor(sched.StartWRR(sched.List{GCD: int32(list.Gcd), MaxWeight: list.MaxWeight}))
	}
	return 0
}

func packCursor(c sched.Cursor) uint64 {
	return uint64(uint32(c.Weight))<<32 | uint64(c.Position)
}

func unpackCursor(c uint64) sched.Cursor {
	return sched.Cursor{Position: uint32(c), Weight: int32(c >> 32)}
}
