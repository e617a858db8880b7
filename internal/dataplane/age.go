// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"
	"time"
)

// AgeInterval is how often to call Age: the whole table once in eight seconds.
const AgeInterval = 250 * time.Millisecond

// AgePasses is how many calls of Age go once through the table.
const AgePasses = 32

// Age looks through a part of the table: connections whose time is over are
// marked dead, and those met dead before are freed. Between two calls that meet
// the same one pass many times what a packet takes, so that none in flight reads
// an entry that is being reused.
func (d *Dataplane) Age() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endOrphans()
	total := len(d.groups.at)
	d.age(min(total, total/AgePasses+1))
}

func (d *Dataplane) age(groups int) {
	now := d.clock.now()
	for range groups {
		if d.aged == 0 {
			d.passed.turn(len(d.groups.at), now)
		}
		for e := range d.entries(d.aged, d.aged+1) {
			d.keepTeller(e, now)
			d.mark(e, now)
			bury(e.life)
			d.passed.note(d, e, uint32(d.aged))
		}
		d.passed.clear(&d.groups.at[d.aged].Passed, uint32(d.aged))
		d.aged = (d.aged + 1) % len(d.groups.at)
	}
}

// expire marks all entries whose time is over, for listings that are exact:
// templates after the connections that they control.
func (d *Dataplane) expire() {
	now := d.clock.now()
	for _, templates := range []bool{false, true} {
		for e := range d.live() {
			if isTemplate(e.conn) == templates {
				d.mark(e, now)
			}
		}
	}
}

// mark takes an entry whose time is over out of the counts that it is in.
func (d *Dataplane) mark(e entry, now uint32) {
	life := atomic.LoadUint32(e.life)
	if phaseOf(life) == phaseLive && int32(atomic.LoadUint32(&e.conn.Expires)-now) <= 0 {
		d.end(e, life, now)
	}
}

// end is bpf/conn.h: end(). It tells whether it was the one that ended the entry.
func (d *Dataplane) end(e entry, life, now uint32) bool {
	if isControlling(e.conn) {
		return false
	}
	gone := *e.conn
	dead := life&^(lifeStateMask<<lifeStateShift) | phaseDead
	if !atomic.CompareAndSwapUint32(e.life, life, dead) {
		return false
	}
	load := &d.loads.at[gone.Dest]
	if isTemplate(&gone) {
		if isControlling(e.conn) { // since a moment ago: it stays
			atomic.CompareAndSwapUint32(e.life, dead, life)
			return false
		}
		atomic.AddUint32(&load.Persistent, ^uint32(0))
		return true
	}
	atomic.AddUint32(&load.Total, ^uint32(0))
	if isActive(stateOf(life)) {
		atomic.AddUint32(&load.Active, ^uint32(0))
	}
	ended := now
	if int32(gone.Expires-now) < 0 {
		ended = gone.Expires
	}
	d.release(gone.Control, ended)
	return true
}

// bury frees a dead connection's place when it is met the second time.
func bury(at *uint32) {
	life := atomic.LoadUint32(at)
	if phaseOf(life) != phaseDead {
		return
	}
	next := life | deadSeen<<lifeStateShift
	if stateOf(life) == deadSeen {
		next = life &^ (phaseMask | lifeStateMask<<lifeStateShift)
	}
	atomic.CompareAndSwapUint32(at, life, next)
}
