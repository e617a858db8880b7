// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"iter"
	"sync/atomic"
)

// place is where a connection may be: bpf/table.h, place_of().
type place struct {
	first, second uint32
}

// placeOf computes what the datapath does.
func (d *Dataplane) placeOf(c *directorConn) place {
	const multiplier = 0x9e3779b97f4a7c15
	hash := binary.NativeEndian.Uint64(c.Cip.Bytes[:8]) ^ d.seed[0]
	hash *= multiplier
	hash ^= hash >> 32
	hash ^= binary.NativeEndian.Uint64(c.Cip.Bytes[8:])
	hash *= multiplier
	hash ^= hash >> 29
	hash ^= d.seed[1] ^ (uint64(c.Proto)<<16 | uint64(c.Cport))
	hash *= multiplier
	hash ^= hash >> 32
	hash *= multiplier
	hash ^= hash >> 29

	count := uint32(len(d.groups.at))
	reduce := func(hash uint64, count uint32) uint32 { return uint32(hash & (1<<32 - 1) * uint64(count) >> 32) }
	first := reduce(hash>>32, count)
	return place{first, (first + 1 + reduce(hash, count-1)) % count}
}

// groupsBefore yields the groups that a search for a connection comes by before
// the one where it is: bpf/table.h, group_after().
func (d *Dataplane) groupsBefore(c *directorConn, at uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		where, count := d.placeOf(c), uint32(len(d.groups.at))
		if where.first == at || !yield(where.first) {
			return
		}
		for g := where.second; g != at; g = (g + 1) % count {
			if g != where.first && !yield(g) {
				return
			}
		}
	}
}

// passedShift is where bpf/types/life.h: struct group, passed, has its ticks.
const passedShift = 4

// passed is what ageing knows of groups that connections went past. While it
// goes through the table it notes those that some live connection did; the next
// time it takes the marks off the others that are older than that.
type passed struct {
	needed, before []bool // by group: in this turn, in the last one
	start, last    uint32 // when they began, in ticks
}

// turn begins a new turn through the table.
func (p *passed) turn(groups int, now uint32) {
	p.needed, p.before = make([]bool, groups), p.needed
	p.start, p.last = now, p.start
}

// note notes the groups that a connection went past.
func (p *passed) note(d *Dataplane, e entry, at uint32) {
	if phaseOf(atomic.LoadUint32(e.life)) != phaseLive {
		return
	}
	for g := range d.groupsBefore(e.conn, at) {
		p.needed[g] = true
	}
}

// clear takes the mark off a group that nobody went past in the whole last turn.
// One made shortly before that began may be of a connection that was entered
// after it was looked for.
func (p *passed) clear(at *uint32, group uint32) {
	mark := atomic.LoadUint32(at)
	if p.before == nil || mark == 0 || p.before[group] || p.needed[group] {
		return
	}
	if int32(mark-(p.last-ticksPerSecond)<<passedShift) < 0 {
		atomic.CompareAndSwapUint32(at, mark, 0)
	}
}
