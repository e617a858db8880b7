// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Kill ends the connections that the filter chooses, or only counts them. TCP
// ones are reset: see bpf/reset.h. Those that are killed already are left alone.
func (d *Dataplane) Kill(filter ipvs.ConnFilter, countOnly bool) (killed ipvs.Killed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	for e, life := range d.live() {
		conn, live := d.read(e, life, now)
		if !live || conn.Template || stateOf(life) == directorStateSTATE_KILLED || !filter.Match(conn) {
			continue
		}
		if conn.Protocol == ipvs.TCP {
			killed.Reset++
		} else {
			killed.Forgotten++
		}
		if !countOnly {
			d.kill(e, life, now)
		}
	}
	return killed
}

// kill is bpf/reset.h: kill() for TCP. Of other protocols nobody can be told.
func (d *Dataplane) kill(e entry, life, now uint32) {
	if e.conn.Proto != uint8(ipvs.TCP) {
		d.end(e, life, now)
		return
	}
	e.conn.Flags |= directorConnFlagsCONN_PACKETS
	const state = uint32(directorStateSTATE_KILLED) << lifeStateShift
	dead := life&^(lifeStateMask<<lifeStateShift) | state
	for !atomic.CompareAndSwapUint32(e.life, life, dead) {
		next := atomic.LoadUint32(e.life)
		if identityOf(next) != identityOf(life) {
			return // it is over, and perhaps another's
		}
		life = next // a packet moved it on
	}
	if isActive(stateOf(life)) {
		atomic.AddUint32(&d.loads.at[e.conn.Dest].Active, ^uint32(0))
	}
	atomic.StoreUint32(&e.conn.Expires, now+d.settings.Timeouts[0].States[directorStateSTATE_KILLED])
	d.killed = append(d.killed, killed{entry: e, life: dead})
}

// killed is a connection whose ends may not know yet.
type killed struct {
	entry entry
	life  uint32
	round int // of Probes
}

// Probe is a segment to send to one end of a killed connection as if from the
// other, so that it answers and learns of the end.
type Probe struct {
	From, To netip.AddrPort
}

// When a killed connection's ends are probed again if they did not answer: at
// once, and after one, two and four rounds more.
const (
	ProbeInterval = 250 * time.Millisecond
	probeRounds   = 8
	probesAtOnce  = 4096
)

// Probes returns what to send in this round: two to each client, since its
// answers tell both ends, and one to a NAT real server.
func (d *Dataplane) Probes() (probes []Probe) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	left := d.killed[:0:0]
	for _, k := range d.killed {
		if len(probes) >= probesAtOnce {
			left = append(left, k)
			continue
		}
		entry := k.entry.conn
		conn, live := d.read(k.entry, k.life, now)
		if !live || atomic.LoadUint32(k.entry.life) != k.life || entry.Flags&directorConnFlagsCONN_CLIENT_UNTOLD == 0 {
			continue
		}
		if k.round&(k.round-1) == 0 {
			probes = append(probes, Probe{conn.VIP, conn.CIP}, Probe{conn.VIP, conn.CIP})
			if d.isMasqueraded(entry) {
				probes = append(probes, Probe{conn.CIP, conn.RIP})
			}
		}
		if k.round++; k.round <= probeRounds {
			left = append(left, k)
		}
	}
	d.killed = left
	return probes
}

func (d *Dataplane) isMasqueraded(entry *directorConn) bool {
	method := ipvs.Forwarding(entry.Flags & directorConnFlagsCONN_FORWARDING)
	return method == ipvs.Masq && d.dests.at[entry.Dest].Flags&directorDestFlagsDEST_LOCAL == 0
}

func (d *Dataplane) isGone(entry *directorConn) bool {
	return d.dests.at[entry.Dest].Flags&directorDestFlagsDEST_AVAILABLE == 0
}

func (d *Dataplane) removal(dest *destination) directorRemoval {
	return d.services.at[dest.service.index].Removal
}

// endOrphans ends the connections of removed destinations where that is so set:
// by their service, or by expire_nodest_conn (ip_vs_conn.c:
// ip_vs_expire_nodest_conn_flush), which tells nobody.
func (d *Dataplane) endOrphans() {
	if !d.orphans {
		return
	}
	d.orphans = false
	now := d.clock.now()
	for e, life := range d.live() {
		if d.isGone(e.conn) {
			d.endOrphan(e, life, now)
		}
	}
}

func (d *Dataplane) endOrphan(e entry, life, now uint32) {
	told := d.services.at[d.dests.at[e.conn.Dest].Service].Removal != directorRemovalREMOVAL_SILENT
	forgotten := d.isOn("expire_nodest_conn")
	switch {
	case isTemplate(e.conn):
		if forgotten {
			d.end(e, life, now)
		}
		return
	case stateOf(life) == directorStateSTATE_KILLED: // by the datapath: its ends are not probed yet
		d.killed = append(d.killed, killed{entry: e, life: life})
		return
	case !told && !forgotten:
		return
	}
	template, has := d.template(e.conn.Control)
	if told {
		d.kill(e, life, now)
	} else {
		d.end(e, life, now)
	}
	if has && forgotten { // now that it sends nobody anywhere
		d.end(template, atomic.LoadUint32(template.life), now)
	}
}
