// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// trashKey names a removed destination, so that adding it again finds its
// connections (ip_vs_ctl.c: ip_vs_trash_get_dest).
type trashKey struct {
	service ipvs.Key
	rip     netip.AddrPort
}

// trashIdle is how long the kernel remembers a removed destination without
// connections (IP_VS_DEST_TRASH_PERIOD).
const trashIdle = 120 * time.Second

// discard takes a destination out of service. Its connections stay: their
// packets find it unavailable.
func (d *Dataplane) discard(dest *destination, counted ipvs.Stats) {
	d.dests.at[dest.index].Flags &^= directorDestFlagsDEST_AVAILABLE
	d.listRealServer(dest)
	d.orphans = d.orphans || d.isOn("expire_nodest_conn") || d.removal(dest) != directorRemovalREMOVAL_SILENT
	d.carry(dest.service, counted, +1)
	dest.idle, dest.counted = time.Time{}, nil
	if d.isIdle(dest) {
		dest.counted = &counted
	}
	d.trash[trashKey{dest.service.key, dest.rip}] = dest
}

func (d *Dataplane) isIdle(dest *destination) bool {
	load := &d.loads.at[dest.index]
	return atomic.LoadUint32(&load.Total) == 0 && atomic.LoadUint32(&load.Persistent) == 0
}

// countedInTrash returns what a removed destination has counted. Without
// connections that is what it had when it was removed: nobody starts new ones.
func (d *Dataplane) countedInTrash(dest *destination) ipvs.Stats {
	if dest.counted != nil && d.isIdle(dest) {
		return *dest.counted
	}
	return d.counted(dest.index)
}

// revive brings a removed destination back with its connections, and returns
// what it has counted. Its counters go on only if the service is still the one
// that it was removed from.
func (d *Dataplane) revive(dest *destination, s *service) (counted ipvs.Stats) {
	delete(d.trash, trashKey{s.key, dest.rip})
	counted = d.countedInTrash(dest)
	if dest.service == s {
		return counted
	}
	d.bases.at[dest.index] = toStats(counted)
	dest.estimator = estimator{}
	old := dest.service
	dest.service = s
	s.members++
	old.members--
	d.forget(old)
	return counted
}

// Reap forgets removed destinations that had no connections for long enough.
func (d *Dataplane) Reap(now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []cached
	for key, dest := range d.trash {
		if !d.isIdle(dest) {
			dest.idle = time.Time{}
			continue
		}
		if dest.idle.IsZero() {
			dest.idle = now
		}
		if now.Sub(dest.idle) >= trashIdle {
			delete(d.trash, key)
			gone = append(gone, d.cachesOf(dest)...)
			d.free(dest)
		}
	}
	if now.Sub(d.marks.reaped) >= reapMarksInterval {
		d.reapMarks(now)
	}
	return d.forgetCached(gone)
}

// free gives a destination's entry back. The base of a free entry is all that
// was ever counted there.
func (d *Dataplane) free(dest *destination) {
	address := dest.rip.Addr()
	d.bases.at[dest.index] = toStats(d.countedInTrash(dest))
	if d.dests.at[dest.index].Flags&directorDestFlagsDEST_WAS_MASQ != 0 {
		d.rips.remove(address)
	}
	if isLocal(&d.dests.at[dest.index]) {
		d.countLocal(-1)
	}
	d.dests.at[dest.index] = directorDest{}
	d.freeDests = append(d.freeDests, dest.index)
	d.byRIP[address] = slices.DeleteFunc(d.byRIP[address], func(o *destination) bool { return o == dest })
	if len(d.byRIP[address]) == 0 {
		delete(d.byRIP, address)
		delete(d.hops, address)
	}
	dest.service.members--
	d.forget(dest.service)
}
