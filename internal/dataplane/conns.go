// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// An entry's life word: bpf/types.h, struct conn.
const (
	phaseMask       = 3
	phaseFree       = 0
	phaseLive       = 2
	phaseDead       = 3
	lifeStateShift  = 2
	lifeStateMask   = 0x3f
	generationShift = 8
)

// deadSeen stands in place of a dead entry's state after ageing has met it once.
const deadSeen = 1

func phaseOf(life uint32) uint32 { return life & phaseMask }

func stateOf(life uint32) directorState {
	return directorState(life >> lifeStateShift & lifeStateMask)
}

// isActive is bpf/tcp.h: is_active().
func isActive(s directorState) bool {
	switch s {
	case directorStateSTATE_ESTABLISHED, directorStateSTATE_SYN_SENT, directorStateSTATE_SYN_RECV, directorStateSTATE_SYNACK:
		return true
	}
	return false
}

// stateNames are ipvsadm's (ip_vs_proto_tcp.c: tcp_state_name_table).
var stateNames = [directorStateSTATE_COUNT]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "UDP", "KILLED",
}

// loadOf returns a destination's connections now.
func (d *Dataplane) loadOf(index uint32) (active, total uint32) {
	return atomic.LoadUint32(&d.loads.at[index].Active), atomic.LoadUint32(&d.loads.at[index].Total)
}

// Conns calls yield for each connection, in the order of the table, without
// holding them all. It stops at yield's first error and returns it.
func (d *Dataplane) Conns(yield func(ipvs.Conn) error) error {
	d.expire()
	now := d.clock.now()
	for b := range d.buckets.at {
		for i := range d.buckets.at[b].Conns {
			conn, ok := d.read(uint32(b)*bucketConns+uint32(i)+1, now)
			if !ok {
				continue
			}
			if err := yield(conn); err != nil {
				return err
			}
		}
	}
	return nil
}

// read copies the entry of a location, if it is a live connection and stayed the
// same one meanwhile.
func (d *Dataplane) read(location, now uint32) (ipvs.Conn, bool) {
	entry := d.entryAt(location)
	life := atomic.LoadUint32(&entry.Life)
	if phaseOf(life) != phaseLive {
		return ipvs.Conn{}, false
	}
	c := *entry
	expires := c.Expires
	if isControlling(&c) {
		expires = d.timerOf(&c, now+1)
	}
	left := int32(expires - now)
	if left <= 0 || atomic.LoadUint32(&entry.Life)>>generationShift != life>>generationShift {
		return ipvs.Conn{}, false
	}
	conn := ipvs.Conn{
		Protocol: ipvs.Protocol(c.Proto &^ protoTemplate),
		CIP:      fromAddrPort(c.Cip, c.Cport),
		VIP:      fromAddrPort(c.Vip, c.Vport),
		RIP:      d.realServer(&c),
		State:    stateNames[min(stateOf(life), directorStateSTATE_COUNT-1)],
		Expires:  d.clock.duration(uint32(left)),
		Template: isTemplate(&c),
	}
	if conn.Template && isAssured(&c) {
		conn.State = "ASSURED"
	}
	d.nameCall(&conn, c, location)
	return conn, true
}

// realServer returns where a connection's packets go.
func (d *Dataplane) realServer(c *directorConn) netip.AddrPort {
	dest := d.dests.at[c.Dest]
	port := dest.Port
	if c.Flags&directorConnFlagsCONN_KEEPS_PORT != 0 || (port == 0 && !isTemplate(c)) {
		port = c.Vport
	}
	return fromAddrPort(dest.Rip, port)
}

// agePasses is how many calls of Age go once through the table.
const agePasses = 32

// Age looks through a part of the table: entries whose time is over are marked
// dead, and those met dead before are freed. Between two calls that meet the
// same entry pass many times what a packet takes, so that none in flight reads
// an entry that is being reused.
func (d *Dataplane) Age() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endOrphans()
	total := len(d.buckets.at)
	d.age(min(total, total/agePasses+1))
}

func (d *Dataplane) age(buckets int) {
	now := d.clock.now()
	for range buckets {
		for i := range d.buckets.at[d.aged].Conns {
			entry := &d.buckets.at[d.aged].Conns[i]
			d.mark(entry, now)
			bury(entry)
		}
		d.aged = (d.aged + 1) % uint32(len(d.buckets.at))
	}
}

// expire marks all entries whose time is over, for listings that are exact:
// templates after the connections that they control.
func (d *Dataplane) expire() {
	now := d.clock.now()
	for _, templates := range []bool{false, true} {
		for b := range d.buckets.at {
			for i := range d.buckets.at[b].Conns {
				entry := &d.buckets.at[b].Conns[i]
				if isTemplate(entry) == templates {
					d.mark(entry, now)
				}
			}
		}
	}
}

// mark takes an entry whose time is over out of the counts that it is in.
func (d *Dataplane) mark(entry *directorConn, now uint32) {
	life := atomic.LoadUint32(&entry.Life)
	if phaseOf(life) == phaseLive && int32(atomic.LoadUint32(&entry.Expires)-now) <= 0 {
		d.end(entry, life, now)
	}
}

// end is bpf/conn.h: end(). It tells whether it was the one that ended the entry.
func (d *Dataplane) end(entry *directorConn, life, now uint32) bool {
	if isControlling(entry) {
		return false
	}
	gone := *entry
	dead := life&^(lifeStateMask<<lifeStateShift) | phaseDead
	if !atomic.CompareAndSwapUint32(&entry.Life, life, dead) {
		return false
	}
	load := &d.loads.at[gone.Dest]
	if isTemplate(&gone) {
		if isControlling(entry) { // since a moment ago: it stays
			atomic.CompareAndSwapUint32(&entry.Life, dead, life)
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

// bury frees a dead entry when it is met the second time.
func bury(entry *directorConn) {
	life := atomic.LoadUint32(&entry.Life)
	if phaseOf(life) != phaseDead {
		return
	}
	next := life | deadSeen<<lifeStateShift
	if stateOf(life) == deadSeen {
		next = life &^ (1<<generationShift - 1)
	}
	atomic.CompareAndSwapUint32(&entry.Life, life, next)
}

// AgeInterval is how often to call Age: the whole table once in eight seconds.
const AgeInterval = 250 * time.Millisecond

// Capacity returns how many connections live and how many entries there are.
func (d *Dataplane) Capacity() (live, entries int) {
	for i := range d.loads.at {
		live += int(atomic.LoadUint32(&d.loads.at[i].Total))
	}
	return live, len(d.buckets.at) * len(directorBucket{}.Conns)
}

// Room returns the entries of a table made for so many connections.
func Room(connections int) int {
	return int(bucketsFor(connections)) * len(directorBucket{}.Conns)
}
