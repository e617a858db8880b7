// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// service is a virtual service's place in the maps.
type service struct {
	index   uint32
	key     ipvs.Key
	dests   []*destination // in the kernel's order: newest first
	members int            // destinations, the removed ones that are remembered included
	deleted bool

	estimator estimator
}

// destination is a real server's place in the maps.
type destination struct {
	index   uint32
	rip     netip.AddrPort
	service *service
	idle    time.Time // since when a removed one has no connections

	// of a removed one that had no connections then: what it had counted
	counted *ipvs.Stats

	estimator estimator
}

// Apply makes one change. A refused change is an *ipvs.Refusal and alters
// nothing.
func (d *Dataplane) Apply(c ipvs.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Service.Key = c.Service.Key.Canonical()
	if err := d.check(c); err != nil {
		return err
	}
	if err := d.table.Apply(c); err != nil {
		return err
	}
	switch c.Op {
	case ipvs.AddService:
		return d.addService(c.Service)
	case ipvs.EditService:
		d.editService(d.byKey[c.Service.Key], c.Service)
	case ipvs.DeleteService:
		return d.deleteService(d.byKey[c.Service.Key], d.counted)
	case ipvs.Flush:
		return d.flush()
	case ipvs.AddDestination:
		d.addDestination(d.byKey[c.Service.Key], c.Destination)
	case ipvs.EditDestination:
		d.editDestination(d.byKey[c.Service.Key], c.Destination)
	case ipvs.DeleteDestination:
		d.deleteDestination(d.byKey[c.Service.Key], c.Destination.RIP)
	case ipvs.SetService:
		d.setService(d.byKey[c.Service.Key], c.Service.Settings)
	case ipvs.Zero:
		return d.zero(c.Service.Key)
	}
	return nil
}

// check refuses what the maps have no room for, before anything is changed.
func (d *Dataplane) check(c ipvs.Change) error {
	if c.Op == ipvs.EditService && d.exceedsMaglev(c.Service) {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.EINVAL}
	}
	full := ""
	switch c.Op {
	case ipvs.SetService:
		return d.checkSettings(c)
	case ipvs.AddService:
		if len(d.freeServices) == 0 {
			full = fmt.Sprintf("no room for more than %d services", len(d.services.at))
		}
	case ipvs.EditService:
		if s := d.byKey[c.Service.Key]; s != nil && !d.reserve(s, len(s.dests), schedulers[c.Service.Scheduler]) {
			full = fmt.Sprintf("no room for a table of scheduler %s", c.Service.Scheduler)
		}
	case ipvs.AddDestination:
		if len(d.freeDests) == 0 {
			full = fmt.Sprintf("no room for more than %d destinations", len(d.dests.at))
		}
		fallthrough
	case ipvs.EditDestination, ipvs.DeleteDestination:
		if s := d.byKey[c.Service.Key]; s != nil && !d.reserve(s, len(s.dests)+1, d.services.at[s.index].Scheduler) {
			full = fmt.Sprintf("no room for a list of %d destinations", len(s.dests)+1)
		}
	}
	if full != "" {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOMEM, Why: full}
	}
	return nil
}

func (d *Dataplane) addService(config ipvs.Service) error {
	s := &service{index: pop(&d.freeServices), key: config.Key}
	d.byKey[s.key] = s
	d.services.at[s.index] = directorService{
		List:      2 * s.index,
		Scheduler: schedulers[config.Scheduler],
		Cursor:    startCursor(schedulers[config.Scheduler], directorList{}),
		Key:       toServiceKey(s.key),
	}
	d.setPersistence(s, config)
	for _, list := range []uint32{2 * s.index, 2*s.index + 1} {
		l := &d.lists.at[list]
		l.Count, l.Gcd, l.MaxWeight = 0, 1, 0
	}
	d.carries.at[s.index] = directorStats{}
	// From here on a packet may find it: one of the same key was there before.
	d.setUse(s, directorServiceUseSERVICE_CONFIGURED)
	if err := d.enter(s); err != nil {
		return err
	}
	d.vips.addService(s.key)
	d.wildcards.count(s.key, +1)
	d.writeWildcards()
	return nil
}

// setUse tells packets that have a hint whether they may go by it.
func (d *Dataplane) setUse(s *service, use directorServiceUse) {
	atomic.StoreUint32((*uint32)(&d.services.at[s.index].Use), uint32(use))
}

// enter lets packets find the service.
func (d *Dataplane) enter(s *service) error {
	if err := d.maps.ServiceIndex.Put(toServiceKey(s.key), s.index); err != nil {
		return fmt.Errorf("enter service %s: %w", s.key, err)
	}
	return nil
}

func (d *Dataplane) editService(s *service, config ipvs.Service) {
	entry := &d.services.at[s.index]
	d.setPersistence(s, config)
	scheduler := schedulers[config.Scheduler]
	if entry.Scheduler == scheduler {
		return
	}
	if tableLines(scheduler) > 0 {
		d.writeList(s, scheduler)
	}
	atomic.StoreUint64(&entry.Cursor, startCursor(scheduler, d.lists.at[entry.List]))
	entry.Scheduler = scheduler
}

func (d *Dataplane) deleteService(s *service, counted func(index uint32) ipvs.Stats) error {
	if err := d.maps.ServiceIndex.Delete(toServiceKey(s.key)); err != nil {
		return fmt.Errorf("remove service %s: %w", s.key, err)
	}
	delete(d.byKey, s.key)
	d.wildcards.count(s.key, -1)
	d.writeWildcards()
	s.deleted = true
	d.setUse(s, directorServiceUseSERVICE_DELETED)
	for _, dest := range s.dests {
		d.discard(dest, counted(dest.index))
	}
	s.dests = nil
	d.forget(s)
	return nil
}

func (d *Dataplane) flush() error {
	counts := d.countAll()
	counted := func(index uint32) ipvs.Stats { return counts[index] }
	for _, s := range d.byKey {
		if err := d.deleteService(s, counted); err != nil {
			return err
		}
	}
	return nil
}

// forget frees a deleted service's entry when nothing of it is remembered.
func (d *Dataplane) forget(s *service) {
	if !s.deleted || s.members > 0 {
		return
	}
	now := time.Now()
	for _, list := range []uint32{2 * s.index, 2*s.index + 1} {
		l := &d.lists.at[list]
		d.regions.giveBack(l.First, l.Room, now)
		d.tableRegions.giveBack(l.Table, l.TableRoom, now)
		*l = directorList{}
	}
	d.services.at[s.index] = directorService{}
	d.freeServices = append(d.freeServices, s.index)
	d.vips.removeService(s.key)
}

func (d *Dataplane) addDestination(s *service, config ipvs.Destination) {
	dest, remembered := d.trash[trashKey{s.key, config.RIP}]
	var counted ipvs.Stats
	if remembered {
		counted = d.revive(dest, s)
	} else {
		dest = &destination{index: pop(&d.freeDests), rip: config.RIP, service: s}
		d.loads.at[dest.index] = directorDestLoad{}
		counted = fromStats(d.bases.at[dest.index]) // since it was freed nobody counted there
		d.byRIP[dest.rip.Addr()] = append(d.byRIP[dest.rip.Addr()], dest)
		s.members++
	}
	d.carry(s, counted, -1)
	dest.estimator.last = counted
	entry := &d.dests.at[dest.index]
	entry.Rip = toAddr(dest.rip.Addr())
	entry.Flags = withFlag(entry.Flags, directorDestFlagsDEST_IPV6, dest.rip.Addr().Is6())
	entry.Port = networkOrder(dest.rip.Port())
	entry.Service = uint16(s.index)
	entry.Timeouts = d.services.at[s.index].Timeouts
	d.setHop(dest, d.hops[dest.rip.Addr()])
	d.configure(dest, config)
	d.addWeight(dest.index, config.Weight)
	entry.Flags |= directorDestFlagsDEST_AVAILABLE
	d.listRealServer(dest)
	s.dests = append([]*destination{dest}, s.dests...)
	d.relist(s, sched.InsertRR)
}

func (d *Dataplane) editDestination(s *service, config ipvs.Destination) {
	dest := s.dests[s.find(config.RIP)]
	d.configure(dest, config)
	d.listRealServer(dest)
	d.editWeight(dest.index, config.Weight)
	d.relist(s, func(c sched.Cursor) sched.Cursor { return c })
}

func (d *Dataplane) deleteDestination(s *service, rip netip.AddrPort) {
	i := s.find(rip)
	dest := s.dests[i]
	s.dests = append(s.dests[:i:i], s.dests[i+1:]...)
	d.relist(s, func(c sched.Cursor) sched.Cursor { return sched.RemoveRR(c, i) })
	d.discard(dest, d.counted(dest.index))
}

// configure writes what a user may set of a destination, but for its weight.
func (d *Dataplane) configure(dest *destination, config ipvs.Destination) {
	entry := &d.dests.at[dest.index]
	// Connections keep their method. Those in a tunnel need to know which it is
	// still when new ones go another way.
	if config.Forwarding == ipvs.Tunnel {
		entry.Tunnel = toTunnel(config)
		entry.TunnelPort = networkOrder(config.TunnelPort)
		entry.Flags = withFlag(entry.Flags, directorDestFlagsDEST_SHIM, entry.Tunnel != 0)
	}
	entry.Forwarding = directorForwarding(config.Forwarding)
	setThresholds(&d.loads.at[dest.index], config.Upper, config.Lower)
	if config.Forwarding == ipvs.Masq && entry.Flags&directorDestFlagsDEST_WAS_MASQ == 0 {
		entry.Flags |= directorDestFlagsDEST_WAS_MASQ
		d.rips.add(dest.rip.Addr())
	}
}

func (s *service) find(rip netip.AddrPort) int {
	for i, dest := range s.dests {
		if dest.rip == rip {
			return i
		}
	}
	return -1
}

func pop(free *[]uint32) uint32 {
	last := len(*free) - 1
	index := (*free)[last]
	*free = (*free)[:last]
	return index
}
