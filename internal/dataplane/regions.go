// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"math/bits"
	"slices"
	"time"
)

// regions hands out stretches of the slots or tables map, by powers of two. One that is
// given back may still be walked by a packet, so it rests before it is reused.
type regions struct {
	next, end uint32
	free      [32][]uint32
	resting   []restingRegion
}

type restingRegion struct {
	first uint32
	class int
	until time.Time
}

// regionRest is many times what a packet takes.
const regionRest = 100 * time.Millisecond

// smallestRegion is worth not growing through one and two.
const smallestRegion = 4

// regionSize returns the size of a region that holds count slots.
func regionSize(count int) uint32 {
	return max(smallestRegion, uint32(1)<<bits.Len32(uint32(max(count, 1)-1)))
}

// take returns the first slot of a region of that size, false if all are in use.
func (r *regions) take(size uint32, now time.Time) (uint32, bool) {
	for len(r.resting) > 0 && !now.Before(r.resting[0].until) {
		r.free[r.resting[0].class] = append(r.free[r.resting[0].class], r.resting[0].first)
		r.resting = r.resting[1:]
	}
	class := bits.Len32(size)
	if n := len(r.free[class]); n > 0 {
		first := r.free[class][n-1]
		r.free[class] = r.free[class][:n-1]
		return first, true
	}
	if r.end-r.next < size {
		return 0, false
	}
	r.next += size
	return r.next - size, true
}

func (r *regions) giveBack(first, size uint32, now time.Time) {
	if size > 0 {
		r.resting = append(r.resting, restingRegion{first, bits.Len32(size), now.Add(regionRest)})
	}
}

// add makes the slots from first to end free, in the largest pieces there are.
func (r *regions) add(first, end uint32) {
	for first < end {
		size := uint32(1) << (bits.Len32(end-first) - 1)
		r.free[bits.Len32(size)] = append(r.free[bits.Len32(size)], first)
		first += size
	}
}

// region is one that is in use; a size of 0 is none.
type region struct{ first, size uint32 }

// adopt learns which regions of a map of end entries are in use.
func (r *regions) adopt(used []region, end uint32) {
	slices.SortFunc(used, func(a, b region) int { return int(a.first) - int(b.first) })
	r.end = end
	for _, u := range used {
		if u.size > 0 {
			r.add(r.next, u.first)
			r.next = u.first + u.size
		}
	}
}
