// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"sync/atomic"
)

// place is where a connection may be: bpf/table.h, place_of().
type place struct {
	first, second uint32
}

// hashFirst and hashSecond are bpf/table.h: HASH_FIRST and HASH_SECOND.
const hashFirst, hashSecond = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93

// hashIPv6 computes what the datapath does.
func (d *Dataplane) hashIPv6(address [16]byte) uint64 {
	hash := (binary.NativeEndian.Uint64(address[:8]) ^ d.seed[1]) * hashSecond
	hash = (hash ^ hash>>32 ^ binary.NativeEndian.Uint64(address[8:])) * hashFirst
	return hash ^ hash>>29
}

// placeOf computes what the datapath does.
func (d *Dataplane) placeOf(c *directorConn) place {
	var hash uint64
	if netip.AddrFrom16(c.Cip.Bytes).Is4In6() {
		hash = uint64(binary.NativeEndian.Uint32(c.Cip.Bytes[12:]))
	} else {
		hash = d.hashIPv6(c.Cip.Bytes)
	}
	hash ^= d.seed[0] ^ (uint64(c.Proto)<<16|uint64(c.Cport))<<32
	hash *= hashFirst
	hash ^= hash >> 32
	hash *= hashSecond
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
