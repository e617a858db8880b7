// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// adopt learns from the maps what is configured. In new maps that is nothing.
func (d *Dataplane) adopt() error {
	services := d.adoptServices()
	listed := make(map[uint32]bool)
	for _, s := range services {
		if s != nil && !s.deleted {
			d.adoptList(s, listed)
			// An earlier director may have been killed before it did this itself.
			if err := d.enter(s); err != nil {
				return err
			}
		}
	}
	d.adoptTrash(services, listed)
	d.adoptRegions(services)
	d.writeWildcards()
	for _, s := range services {
		if s != nil {
			d.forget(s)
		}
	}
	d.startEstimating()
	return d.adoptMarks()
}

func (d *Dataplane) adoptServices() []*service {
	services := make([]*service, len(d.services.at))
	for i := len(services) - 1; i >= 0; i-- {
		entry := &d.services.at[i]
		if entry.Use == directorServiceUseSERVICE_FREE {
			d.freeServices = append(d.freeServices, uint32(i))
			continue
		}
		s := &service{index: uint32(i), key: fromServiceKey(entry.Key)}
		s.deleted = entry.Use == directorServiceUseSERVICE_DELETED
		services[i] = s
		d.vips.addService(s.key)
	}
	return services
}

func (d *Dataplane) adoptList(s *service, listed map[uint32]bool) {
	entry := &d.services.at[s.index]
	list := d.lists.at[entry.List]
	config := ipvs.Service{
		Key:       s.key,
		Scheduler: fromScheduler(entry.Scheduler),
		Flags:     ipvs.ServiceFlags(entry.Flags),
		Timeout:   entry.TimeoutSeconds,
		Netmask:   fromNetmask(s.key, entry.Netmask),
		Engine:    fromEngine(entry.Engine),
		Settings:  d.settingsOf(entry),
	}
	for _, slot := range d.slots.at[list.First : list.First+list.Count] {
		listed[slot.Dest] = true
		dest := d.adoptDestination(slot.Dest, s)
		s.dests = append(s.dests, dest)
		entry := &d.dests.at[slot.Dest]
		configured := ipvs.Destination{
			RIP:        dest.rip,
			Forwarding: ipvs.Forwarding(entry.Forwarding),
			Weight:     d.weight(slot.Dest),
			Upper:      d.loads.at[slot.Dest].Upper,
			Lower:      d.loads.at[slot.Dest].Lower,
		}
		if configured.Forwarding == ipvs.Tunnel {
			setTunnel(&configured, entry)
		}
		config.Destinations = append(config.Destinations, configured)
	}
	d.byKey[s.key] = s
	d.wildcards.count(s.key, +1)
	d.table.Services = append(d.table.Services, config)
}

func (d *Dataplane) adoptDestination(index uint32, s *service) *destination {
	entry := &d.dests.at[index]
	dest := &destination{index: index, rip: fromAddrPort(entry.Rip, entry.Port), service: s}
	s.members++
	d.byRIP[dest.rip.Addr()] = append(d.byRIP[dest.rip.Addr()], dest)
	if entry.Flags&directorDestFlagsDEST_WAS_MASQ != 0 {
		d.rips.add(dest.rip.Addr())
	}
	if isLocal(entry) {
		d.countLocal(1)
	}
	return dest
}

// adoptTrash finds the removed destinations that are remembered, and the free
// entries.
func (d *Dataplane) adoptTrash(services []*service, listed map[uint32]bool) {
	for i := len(d.dests.at) - 1; i >= 0; i-- {
		index, entry := uint32(i), &d.dests.at[i]
		if listed[index] {
			continue
		}
		if index == d.bypass() {
			d.dests.at[index] = bypassEntry
			continue
		}
		var s *service
		if fromAddr(entry.Rip) != netip.IPv6Unspecified() {
			s = services[entry.Service]
		}
		if s == nil {
			if *entry != (directorDest{}) { // its director was killed
				d.bases.at[index] = toStats(d.counted(index))
			}
			*entry = directorDest{}
			d.freeDests = append(d.freeDests, index)
			continue
		}
		dest := d.adoptDestination(index, s)
		entry.Flags &^= directorDestFlagsDEST_AVAILABLE
		d.trash[trashKey{s.key, dest.rip}] = dest
	}
}

// adoptRegions finds which slots and tables no list has.
func (d *Dataplane) adoptRegions(services []*service) {
	var slots, tables []region
	for _, s := range services {
		if s == nil {
			continue
		}
		for _, list := range []uint32{2 * s.index, 2*s.index + 1} {
			l := d.lists.at[list]
			slots = append(slots, region{l.First, l.Room})
			tables = append(tables, region{l.Table, l.TableRoom})
		}
	}
	d.regions.adopt(slots, uint32(len(d.slots.at)))
	d.tableRegions.adopt(tables, uint32(len(d.tables.at)))
}
