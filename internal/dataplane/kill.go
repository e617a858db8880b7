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
	for location := uint32(1); location <= d.locations(); location++ {
		entry := d.entryAt(location)
		life := atomic.LoadUint32(&entry.Life)
		conn, live := d.read(location, now)
		if !live || conn.Template || stateOf(life) == directorStateSTATE_KILLED || !filter.Match(conn) {
			continue
		}
		if conn.Protocol == ipvs.TCP {
			killed.Reset++
		} else {
			killed.Forgotten++
		}
		if !countOnly {
			d.kill(location, life, now)
		}
	}
	return killed
}

// kill is bpf/reset.h: kill() for TCP. Of other protocols nobody can be told.
func (d *Dataplane) kill(location, life, now uint32) {
	entry := d.entryAt(location)
	if entry.Proto != uint8(ipvs.TCP) {
		d.end(entry, life, now)
		return
	}
	entry.Flags &^= directorConnFlagsCONN_PACKETS
	const state = uint32(directorStateSTATE_KILLED) << lifeStateShift
	dead := life&^(lifeStateMask<<lifeStateShift) | state
	for !atomic.CompareAndSwapUint32(&entry.Life, life, dead) {
		next := atomic.LoadUint32(&entry.Life)
		if (next^life)&^(lifeStateMask<<lifeStateShift) != 0 {
			return // it is over, and perhaps another's
		}
		life = next // a packet moved it on
	}
	if isActive(stateOf(life)) {
		atomic.AddUint32(&d.loads.at[entry.Dest].Active, ^uint32(0))
	}
	atomic.StoreUint32(&entry.Expires, now+d.settings.Timeouts[0].States[directorStateSTATE_KILLED])
	d.killed = append(d.killed, killed{location: location, life: dead})
}

// killed is a connection whose ends may not know yet.
type killed struct {
	location uint32
	life     uint32
	round    int // of Probes
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
		entry := d.entryAt(k.location)
		conn, live := d.read(k.location, now)
		if !live || atomic.LoadUint32(&entry.Life) != k.life || entry.Flags&directorConnFlagsCONN_CLIENT_TOLD != 0 {
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
	for location := uint32(1); location <= d.locations(); location++ {
		entry := d.entryAt(location)
		if life := atomic.LoadUint32(&entry.Life); phaseOf(life) == phaseLive && d.isGone(entry) {
			d.endOrphan(location, life, now)
		}
	}
}

// locations is how many entries the table has; they are numbered from 1.
func (d *Dataplane) locations() uint32 {
	return uint32(len(d.buckets.at)) * bucketConns
}

func (d *Dataplane) endOrphan(location, life, now uint32) {
	entry := d.entryAt(location)
	switch service := d.dests.at[entry.Dest].Service; {
	case stateOf(life) == directorStateSTATE_KILLED: // by the datapath: its ends are not probed yet
		d.killed = append(d.killed, killed{location: location, life: life})
	case d.services.at[service].Removal != directorRemovalREMOVAL_SILENT && !isTemplate(entry):
		d.kill(location, life, now)
	case d.isOn("expire_nodest_conn"):
		template := d.template(entry.Control)
		d.end(entry, life, now)
		if template != nil {
			d.end(template, atomic.LoadUint32(&template.Life), now)
		}
	}
}
