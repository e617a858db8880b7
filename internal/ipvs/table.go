// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"math"
	"net/netip"
	"slices"
	"syscall"
)

// Table is a whole configuration: services in the order of their creation, each
// with its destinations newest first, as the kernel keeps them.
//
// Its zero value is an empty table. A copy shares the services; Clone does not.
type Table struct {
	Services []Service `json:"services"`

	index map[Key]int // position of each key; trusted while it is as long as Services
}

// Clone returns a table that shares nothing with t.
func (t *Table) Clone() Table {
	c := Table{Services: slices.Clone(t.Services)}
	for i := range c.Services {
		c.Services[i].Destinations = slices.Clone(c.Services[i].Destinations)
	}
	return c
}

// Find returns the service with the key, nil if there is none. The pointer is
// good until the next change.
func (t *Table) Find(k Key) *Service {
	if t.index == nil || len(t.index) != len(t.Services) {
		t.reindex()
	}
	i, ok := t.index[k.Canonical()]
	if !ok {
		return nil
	}
	return &t.Services[i]
}

func (t *Table) reindex() {
	t.index = make(map[Key]int, len(t.Services))
	for i := range t.Services {
		t.index[t.Services[i].Key.Canonical()] = i
	}
}

// Apply makes one change by the kernel's rules (net/netfilter/ipvs/ip_vs_ctl.c),
// checked in the kernel's order. The error is a *Refusal with the kernel's errno,
// and a refused change alters nothing.
//
// What depends on more than the table is left to the caller: which schedulers
// and persistence engines exist (ENOENT), whether an address is a broadcast
// address of this host. Zero changes nothing but is refused for a missing service.
func (t *Table) Apply(c Change) error {
	if errno := t.apply(c); errno != 0 {
		return &Refusal{Op: c.Op, Errno: errno}
	}
	return nil
}

func (t *Table) apply(c Change) syscall.Errno {
	switch c.Op {
	case AddService:
		return t.addService(c.Service)
	case Flush:
		*t = Table{}
		return 0
	case Zero:
		if c.Service.Key == (Key{}) {
			return 0
		}
	}

	s := t.Find(c.Service.Key)
	if s == nil {
		return syscall.ESRCH
	}
	switch c.Op {
	case Zero:
		return 0
	case EditService:
		return s.edit(c.Service)
	case SetService:
		s.Settings = c.Service.Settings
		return 0
	case DeleteService:
		t.deleteService(c.Service.Key)
		return 0
	case AddDestination:
		return s.addDestination(c.Destination)
	case EditDestination:
		return s.editDestination(c.Destination)
	case DeleteDestination:
		return s.deleteDestination(c.Destination.RIP)
	}
	return syscall.EINVAL
}

func (t *Table) addService(s Service) syscall.Errno {
	if !s.Key.valid() {
		return syscall.EINVAL
	}
	if t.Find(s.Key) != nil {
		return syscall.EEXIST
	}
	if errno := s.checkMask(); errno != 0 {
		return errno
	}
	s.Key, s.Destinations, s.Settings = s.Key.Canonical(), nil, ServiceSettings{}
	t.Services = append(t.Services, s)
	t.index[s.Key] = len(t.Services) - 1
	return 0
}

func (t *Table) deleteService(k Key) {
	k = k.Canonical()
	i := t.index[k]
	t.Services = slices.Delete(t.Services, i, i+1)
	delete(t.index, k)
	for ; i < len(t.Services); i++ {
		t.index[t.Services[i].Key] = i
	}
}

func (k Key) valid() bool {
	if k.Mark != 0 {
		return true
	}
	switch k.Protocol {
	case TCP, UDP, SCTP:
		return k.VIP.IsValid() && k.VIP.Addr() == k.VIP.Addr().Unmap().WithZone("")
	}
	return false
}

// checkMask is the kernel's test of an IPv6 service's prefix length.
func (s Service) checkMask() syscall.Errno {
	if s.IPv6() && s.Flags&Persistent != 0 && (s.Netmask < 1 || s.Netmask > FullPrefix) {
		return syscall.EINVAL
	}
	return 0
}

// edit replaces all options and keeps key, destinations and settings.
func (s *Service) edit(to Service) syscall.Errno {
	to.Key, to.Destinations, to.Settings = s.Key, s.Destinations, s.Settings
	if errno := to.checkMask(); errno != 0 {
		return errno
	}
	*s = to
	return 0
}

// find returns the position of the destination, -1 if there is none.
func (s *Service) find(rip netip.AddrPort) int {
	return slices.IndexFunc(s.Destinations, func(d Destination) bool { return d.RIP == rip })
}

func (s *Service) addDestination(d Destination) syscall.Errno {
	if errno := s.checkDestination(d); errno != 0 {
		return errno
	}
	if s.find(d.RIP) >= 0 {
		return syscall.EEXIST
	}
	if !canServe(d.RIP.Addr()) {
		return syscall.EINVAL
	}
	s.Destinations = slices.Insert(s.Destinations, 0, d)
	return 0
}

func (s *Service) editDestination(d Destination) syscall.Errno {
	if errno := s.checkDestination(d); errno != 0 {
		return errno
	}
	i := s.find(d.RIP)
	if i < 0 {
		return syscall.ENOENT
	}
	s.Destinations[i] = d
	return 0
}

func (s *Service) deleteDestination(rip netip.AddrPort) syscall.Errno {
	i := s.find(rip)
	if i < 0 {
		return syscall.ENOENT
	}
	s.Destinations = slices.Delete(s.Destinations, i, i+1)
	return 0
}

// checkDestination makes the tests that come before the destination is looked
// up: ip_vs_genl_set_cmd, then ip_vs_add_dest and ip_vs_edit_dest.
func (s *Service) checkDestination(d Destination) syscall.Errno {
	if d.RIP.Addr().Is6() != s.IPv6() && d.Forwarding != Tunnel {
		return syscall.EINVAL
	}
	if d.Weight < 0 || d.Lower > d.Upper {
		return syscall.ERANGE
	}
	if d.Upper > math.MaxInt32 {
		return syscall.EINVAL
	}
	if d.TunnelType == GUE && d.TunnelPort == 0 {
		return syscall.EINVAL
	}
	return 0
}

// canServe is what ip_vs_new_dest asks of an address, as far as the address
// alone tells: unicast, and not link-local for IPv6.
func canServe(a netip.Addr) bool {
	if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	if a.Is4() {
		return a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return !a.Is4In6() && !a.IsLinkLocalUnicast()
}
