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
func (d *Dataplane) discard(dest *destination) {
	d.dests.at[dest.index].Flags &^= directorDestFlagsDEST_AVAILABLE
	d.carry(dest.service, dest, +1)
	dest.idle = time.Time{}
	d.trash[trashKey{dest.service.key, dest.rip}] = dest
}

// revive brings a removed destination back with its connections. Its counters
// go on only if the service is still the one that it was removed from.
func (d *Dataplane) revive(dest *destination, s *service) {
	delete(d.trash, trashKey{s.key, dest.rip})
	if dest.service == s {
		return
	}
	d.bases.at[dest.index] = toStats(d.counted(dest.index))
	dest.estimator = estimator{}
	old := dest.service
	dest.service = s
	s.members++
	old.members--
	d.forget(old)
}

// Reap forgets removed destinations that had no connections for long enough.
func (d *Dataplane) Reap(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, dest := range d.trash {
		if atomic.LoadUint32(&d.loads.at[dest.index].Total) > 0 {
			dest.idle = time.Time{}
			continue
		}
		if dest.idle.IsZero() {
			dest.idle = now
		}
		if now.Sub(dest.idle) >= trashIdle {
			delete(d.trash, key)
			d.free(dest)
		}
	}
}

// free gives a destination's entry back.
func (d *Dataplane) free(dest *destination) {
	address := dest.rip.Addr()
	if d.dests.at[dest.index].Flags&directorDestFlagsDEST_WAS_MASQ != 0 {
		d.rips.remove(address)
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
