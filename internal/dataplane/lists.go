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

// reserve makes room for count slots in the service's idle list.
func (d *Dataplane) reserve(s *service, count int) bool {
	list := &d.lists.at[d.idleList(s)]
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

// relist writes the service's destinations to its idle list, which has room
// reserved, and switches to it. moved says where rr's cursor is after the change.
func (d *Dataplane) relist(s *service, moved func(sched.Cursor) sched.Cursor) {
	entry := &d.services.at[s.index]
	index := d.idleList(s)
	list := &d.lists.at[index]
	weights := make([]int32, len(s.dests))
	for i, dest := range s.dests {
		weights[i] = d.dests.at[dest.index].Weight
		d.slots.at[list.First+uint32(i)] = directorSlot{Dest: dest.index, Weight: weights[i]}
	}
	sum := sched.Weigh(weights)
	list.Count, list.Gcd, list.MaxWeight = uint32(len(weights)), uint32(sum.GCD), sum.MaxWeight
	if entry.Scheduler == directorSchedulerSCHEDULER_WRR {
		moved = func(c sched.Cursor) sched.Cursor { return sched.ChangeWRR(c, sum) }
	}
	atomic.StoreUint32(&entry.List, index)
	for {
		old := atomic.LoadUint64(&entry.Cursor)
		if atomic.CompareAndSwapUint64(&entry.Cursor, old, packCursor(moved(unpackCursor(old)))) {
			return
		}
	}
}

func packCursor(c sched.Cursor) uint64 {
	return uint64(uint32(c.Weight))<<32 | uint64(c.Position)
}

func unpackCursor(c uint64) sched.Cursor {
	return sched.Cursor{Position: uint32(c), Weight: int32(c >> 32)}
}
