// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// checkSettings refuses what the maps cannot hold.
func (d *Dataplane) checkSettings(c ipvs.Change) error {
	if err := d.checkTimeouts(c.Op, c.Service.Settings.Timeouts); err != nil {
		return err
	}
	s := d.byKey[c.Service.Key]
	if s == nil {
		return nil // the table refuses it
	}
	if _, ok := d.timeoutSet(c.Service.Settings.Timeouts, s); !ok {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOMEM, Why: fmt.Sprintf("no room for more than %d different timeouts of services", len(d.timeouts.at)-1)}
	}
	return nil
}

// setService writes a service's settings, which were checked. Its connections
// have them from their next packet on.
func (d *Dataplane) setService(s *service, settings ipvs.ServiceSettings) {
	set, _ := d.timeoutSet(settings.Timeouts, s)
	if set != 0 { // which is not a service's to write
		d.timeouts.at[set].Seconds = secondsOf(settings.Timeouts)
	}
	entry := &d.services.at[s.index]
	entry.Timeouts, entry.Removal = set, directorRemoval(settings.Removed)
	d.writeTimeouts()
	for _, dest := range s.dests {
		d.dests.at[dest.index].Timeouts = set
	}
	for _, dest := range d.trash {
		if dest.service == s {
			d.dests.at[dest.index].Timeouts = set
		}
	}
}

// settingsOf reads a service's settings from the maps.
func (d *Dataplane) settingsOf(entry *directorService) (settings ipvs.ServiceSettings) {
	settings.Removed = ipvs.Removal(entry.Removal)
	if entry.Timeouts != 0 {
		seconds := d.timeouts.at[entry.Timeouts].Seconds
		settings.Timeouts = ipvs.Timeouts{
			TCP:    seconds[directorStateSTATE_ESTABLISHED],
			TCPFin: seconds[directorStateSTATE_FIN_WAIT],
			UDP:    seconds[directorStateSTATE_UDP],
		}
	}
	return settings
}

func secondsOf(t ipvs.Timeouts) (seconds [directorStateSTATE_SLOTS]uint32) {
	seconds[directorStateSTATE_ESTABLISHED] = t.TCP
	seconds[directorStateSTATE_FIN_WAIT] = t.TCPFin
	seconds[directorStateSTATE_UDP] = t.UDP
	return seconds
}

// timeoutSet returns the set that has a service's timeouts, or one that no other
// service uses, false if there is none. The first is the director's.
func (d *Dataplane) timeoutSet(t ipvs.Timeouts, s *service) (set uint8, ok bool) {
	if t == (ipvs.Timeouts{}) {
		return 0, true
	}
	used := make([]bool, len(d.timeouts.at))
	used[0] = true
	for i := range d.services.at {
		if entry := &d.services.at[i]; entry.Use != directorServiceUseSERVICE_FREE && uint32(i) != s.index {
			used[entry.Timeouts] = true
		}
	}
	seconds := secondsOf(t)
	for i := range used {
		switch {
		case i == 0:
		case used[i] && d.timeouts.at[i].Seconds == seconds:
			return uint8(i), true
		case !used[i] && !ok:
			set, ok = uint8(i), true
		}
	}
	return set, ok
}

// timeoutOf returns how many ticks a destination's connections last in a state.
func (d *Dataplane) timeoutOf(dest uint32, state directorState) uint32 {
	return atomic.LoadUint32(&d.settings.Timeouts[d.dests.at[dest].Timeouts].States[state])
}
