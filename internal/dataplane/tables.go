// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// tableLine is bpf/types/service.h: TABLE_LINE.
const tableLine = len(directorTableLine{}.Positions)

// tableLines returns how many lines the scheduler's table takes, a power of
// two; 0: it has none.
func tableLines(scheduler directorScheduler) uint32 {
	places := 0
	switch scheduler {
	case directorSchedulerSCHEDULER_DH, directorSchedulerSCHEDULER_SH:
		places = sched.HashSize
	case directorSchedulerSCHEDULER_MH:
		places = sched.MaglevSize
	default:
		return 0
	}
	return regionSize((places + tableLine - 1) / tableLine)
}

// exceedsMaglev tells whether a service is to change to mh and has more
// destinations than its table has places (ip_vs_mh.c: ip_vs_mh_reassign). Those
// that are added later just get none, as in the kernel.
func (d *Dataplane) exceedsMaglev(config ipvs.Service) bool {
	s := d.byKey[config.Key]
	mh := directorSchedulerSCHEDULER_MH
	return s != nil && schedulers[config.Scheduler] == mh && d.services.at[s.index].Scheduler != mh &&
		len(s.dests) > sched.MaglevSize
}

// reserveTable makes room for the scheduler's table in a list that the datapath
// does not read, and gives back what another scheduler had there.
func (d *Dataplane) reserveTable(list *directorList, scheduler directorScheduler) bool {
	lines := tableLines(scheduler)
	if list.TableRoom == lines {
		return true
	}
	now := time.Now()
	first := uint32(0)
	if lines > 0 {
		var ok bool
		if first, ok = d.tableRegions.take(lines, now); !ok {
			return false
		}
	}
	d.tableRegions.giveBack(list.Table, list.TableRoom, now)
	list.Table, list.TableRoom = first, lines
	return true
}

// writeTable fills the table of a list that the datapath does not read yet.
func (d *Dataplane) writeTable(list *directorList, s *service, scheduler directorScheduler) {
	table := d.tableOf(s, scheduler)
	for place, position := range table {
		d.tables.at[int(list.Table)+place/tableLine].Positions[place%tableLine] = position
	}
	list.TableSize = uint32(len(table))
}

func (d *Dataplane) tableOf(s *service, scheduler directorScheduler) []uint16 {
	switch scheduler {
	case directorSchedulerSCHEDULER_DH:
		return sched.DestinationHash(len(s.dests))
	case directorSchedulerSCHEDULER_SH:
		return sched.SourceHash(d.weights(s))
	case directorSchedulerSCHEDULER_MH:
		dests := make([]sched.MaglevDestination, len(s.dests))
		for i, dest := range s.dests {
			dests[i] = sched.MaglevDestination{RIP: dest.rip, LastWeight: d.dests.at[dest.index].Weight}
		}
		return sched.Maglev(dests, s.key.IPv6())
	}
	return nil
}
