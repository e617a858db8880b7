// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// service is a virtual service (struct ip_vs_service).
type service struct {
	ipvs.Service            // its Destinations are not used
	dests        []*dest    // newest first
	scheduler    scheduler  // what it remembers
	stats        ipvs.Stats // since the last Zero
}

// dest is a real server's entry in a service (struct ip_vs_dest).
type dest struct {
	ipvs.Destination
	service    *service
	lastWeight int32 // the weight before it was set to 0
	available  bool  // clear once removed
	overloaded bool
	wasMasq    bool // has been a NAT destination: its packets may be replies
	active     uint32
	total      uint32 // connections, active and inactive
	persistent uint32 // templates
	stats      ipvs.Stats
	tunnel     tunnel // the latest that it was configured with
	learnedMTU int    // of the way, from ICMP errors; 0: none
	idle       bool   // in the trash: seen without connections
	idleSince  uint64 // at which tick
}

func (d *Director) find(k ipvs.Key) *service {
	for _, s := range d.services {
		if s.Canonical() == k.Canonical() {
			return s
		}
	}
	return nil
}

// serves finds the service of a packet (ip_vs_service_find): that of its mark, one of
// its port, FTP's for what may be its data, one for all ports.
func (d *Director) serves(f flow) *service {
	if mark := d.mark(f.proto, f.virtual); mark != 0 {
		if s := d.find(ipvs.MarkKey(mark, f.virtual.Addr().Is6())); s != nil {
			return s
		}
	}
	port := f.virtual.Port()
	at := func(port uint16) *service {
		return d.find(ipvs.Key{Protocol: f.proto, VIP: netip.AddrPortFrom(f.virtual.Addr(), port)})
	}
	s := at(port)
	if s == nil && f.proto == ipvs.TCP && (port == 20 || port >= 1024) {
		s = at(21)
	}
	if s == nil {
		s = at(0)
	}
	return s
}

func (s *service) find(rip netip.AddrPort) *dest {
	for _, dest := range s.dests {
		if dest.RIP == rip {
			return dest
		}
	}
	return nil
}

// eligible tells whether schedulers may choose it.
func (d *dest) eligible() bool {
	return !d.overloaded && d.Weight > 0
}

// bind is ip_vs_bind_dest(): a connection begins.
func (d *dest) bind() {
	d.total++
	if d.Upper == 0 {
		d.overloaded = false
	} else if d.total == d.Upper {
		d.overloaded = d.total >= d.lower()
	}
}

// unbind is ip_vs_unbind_dest(): one ends.
func (d *dest) unbind() {
	d.total--
	if d.Upper == 0 {
		d.overloaded = false
	} else if d.total+1 == d.lower() {
		d.overloaded = d.total >= d.Upper
	}
}

// lower is the lower threshold that counts.
func (d *dest) lower() uint32 {
	if d.Lower != 0 {
		return d.Lower
	}
	return d.Upper - d.Upper/4
}

// configure is __ip_vs_update_dest().
func (d *dest) configure(to ipvs.Destination, added bool) {
	changed := added || d.Upper != to.Upper || d.Lower != to.Lower
	if added || to.Weight != 0 {
		d.lastWeight = to.Weight
	} else if d.Weight != 0 {
		d.lastWeight = d.Weight
	}
	d.Destination = to
	if to.Forwarding == ipvs.Tunnel {
		d.tunnel = tunnel{to.TunnelType, to.TunnelPort, to.TunnelFlags}
	}
	switch {
	case !changed:
	case d.Upper == 0, d.total < d.lower():
		d.overloaded = false
	case d.total >= d.Upper:
		d.overloaded = true
	}
	d.available = true
	d.wasMasq = d.wasMasq || to.Forwarding == ipvs.Masq
}

// discard takes a destination out of service and remembers it, with its
// connections (__ip_vs_del_dest).
func (d *Director) discard(dest *dest) {
	dest.available, dest.idle = false, false
	d.trash = append(d.trash, dest)
	d.orphans = d.orphans || d.Settings.ExpireNodestConn || dest.service.Settings.Removed != ipvs.Silent
}

// revive finds a removed destination that is added again
// (ip_vs_trash_get_dest). Its counters go on only in the service that it was
// removed from.
func (d *Director) revive(s *service, rip netip.AddrPort) *dest {
	for i, dest := range d.trash {
		if dest.service.Canonical() != s.Canonical() || dest.RIP != rip {
			continue
		}
		d.trash = slices.Delete(d.trash, i, i+1)
		if dest.service != s {
			dest.service, dest.stats = s, ipvs.Stats{}
		}
		return dest
	}
	return nil
}

// trashPeriod is IP_VS_DEST_TRASH_PERIOD, in seconds.
const trashPeriod = 120

// Reap forgets removed destinations that were found without connections for long
// enough (ip_vs_dest_trash_expire). The kernel looks every minute.
func (d *Director) Reap() {
	d.trash = slices.DeleteFunc(d.trash, func(dest *dest) bool {
		if dest.total+dest.persistent > 0 {
			dest.idle = false
			return false
		}
		if !dest.idle {
			dest.idle, dest.idleSince = true, d.now
		}
		return d.Duration(uint32(d.now-dest.idleSince)).Seconds() >= trashPeriod
	})
}
