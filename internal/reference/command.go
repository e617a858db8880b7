// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"math"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Apply makes one change, or refuses it with the kernel's errno
// (net/netfilter/ipvs/ip_vs_ctl.c). The options of a change are taken to be
// those that ipvsadm can make.
func (d *Director) Apply(c ipvs.Change) syscall.Errno {
	switch c.Op {
	case ipvs.Flush:
		for len(d.services) > 0 {
			d.deleteService(d.services[0])
		}
		return 0
	case ipvs.AddService:
		return d.addService(c.Service)
	case ipvs.Zero:
		if c.Service.Key == (ipvs.Key{}) {
			for _, s := range d.services {
				s.zero()
			}
			return 0
		}
	}
	s := d.find(c.Service.Key)
	if s == nil {
		return syscall.ESRCH
	}
	switch c.Op {
	case ipvs.Zero:
		s.zero()
	case ipvs.EditService:
		s.edit(c.Service)
	case ipvs.DeleteService:
		d.deleteService(s)
	case ipvs.SetService:
		s.Settings = c.Service.Settings
	case ipvs.AddDestination:
		return d.addDest(s, c.Destination)
	case ipvs.EditDestination:
		return s.editDest(c.Destination)
	case ipvs.DeleteDestination:
		return d.deleteDest(s, c.Destination.RIP)
	}
	return 0
}

func (d *Director) addService(config ipvs.Service) syscall.Errno {
	if d.find(config.Key) != nil {
		return syscall.EEXIST
	}
	s := &service{Service: config}
	s.start()
	d.services = append(d.services, s)
	return 0
}

// start lets a scheduler begin on the service.
func (s *service) start() {
	s.scheduler = newScheduler(s.Scheduler)
	s.scheduler.start(s)
}

func (s *service) edit(config ipvs.Service) {
	old := s.Scheduler
	config.Key, config.Settings = s.Key, s.Settings
	s.Service = config
	if old != config.Scheduler {
		s.start()
	}
}

func (d *Director) deleteService(s *service) {
	d.services = slices.DeleteFunc(d.services, func(other *service) bool { return other == s })
	for _, dest := range s.dests {
		d.discard(dest)
	}
	s.dests = nil
}

func (d *Director) addDest(s *service, config ipvs.Destination) syscall.Errno {
	if errno := check(s, config); errno != 0 {
		return errno
	}
	if s.find(config.RIP) != nil {
		return syscall.EEXIST
	}
	if !isUnicast(config.RIP.Addr()) {
		return syscall.EINVAL
	}
	added := d.revive(s, config.RIP)
	if added == nil {
		added = &dest{service: s}
	}
	added.configure(config, true)
	s.dests = slices.Insert(s.dests, 0, added)
	s.scheduler.added(s)
	return 0
}

func (s *service) editDest(config ipvs.Destination) syscall.Errno {
	if errno := check(s, config); errno != 0 {
		return errno
	}
	edited := s.find(config.RIP)
	if edited == nil {
		return syscall.ENOENT
	}
	edited.configure(config, false)
	s.scheduler.edited(s)
	return 0
}

func (d *Director) deleteDest(s *service, rip netip.AddrPort) syscall.Errno {
	gone := s.find(rip)
	if gone == nil {
		return syscall.ENOENT
	}
	at := slices.Index(s.dests, gone)
	s.dests = slices.Delete(s.dests, at, at+1)
	s.scheduler.deleted(s, gone, at)
	d.discard(gone)
	return 0
}

// check makes the tests of a destination that come before it is looked for.
func check(s *service, d ipvs.Destination) syscall.Errno {
	switch {
	case d.RIP.Addr().Is6() != s.IPv6() && d.Forwarding != ipvs.Tunnel:
		return syscall.EINVAL
	case d.Weight < 0, d.Lower > d.Upper:
		return syscall.ERANGE
	case d.Upper > math.MaxInt32:
		return syscall.EINVAL
	case d.TunnelType == ipvs.GUE && d.TunnelPort == 0:
		return syscall.EINVAL
	}
	return 0
}

// isUnicast is what the kernel asks of a real server's address.
func isUnicast(a netip.Addr) bool {
	if a.Is4() {
		return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

func (s *service) zero() {
	s.stats = ipvs.Stats{}
	for _, dest := range s.dests {
		dest.stats = ipvs.Stats{}
	}
}

// Services returns all services, in the order of their creation, and what was
// counted.
func (d *Director) Services() []ipvs.ServiceStatus {
	statuses := make([]ipvs.ServiceStatus, len(d.services))
	for i, s := range d.services {
		statuses[i] = s.status()
	}
	return statuses
}

func (s *service) status() ipvs.ServiceStatus {
	status := ipvs.ServiceStatus{Service: s.Service, Stats: s.stats, Destinations: make([]ipvs.DestinationStatus, len(s.dests))}
	for i, dest := range s.dests {
		status.Destinations[i] = ipvs.DestinationStatus{
			Destination: dest.Destination, Stats: dest.stats,
			Active: dest.active, Inactive: dest.total - dest.active, Persistent: dest.persistent,
		}
	}
	return status
}
