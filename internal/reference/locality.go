// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"
	"time"
)

// locality is ip_vs_lblc.c: an address stays with its server.
type locality struct {
	stateless
	last map[netip.Addr]*dest // by address
}

func (l *locality) choose(_ *Director, s *service, r request) *dest {
	address := r.virtual.Addr()
	last := l.last[address]
	if last != nil && last.available && last.Weight > 0 && !busy(s, last) {
		return last
	}
	found := weightedLeast(s)
	if found != nil {
		l.last[address] = found
	}
	return found
}

// busy tells whether a destination has more to do than its weight while another
// has not half of its own (is_overloaded).
func busy(s *service, d *dest) bool {
	return int64(d.active) > int64(d.Weight) &&
		slices.ContainsFunc(s.dests, func(other *dest) bool { return 2*int64(other.active) < int64(other.Weight) })
}

// localityReplicated is ip_vs_lblcr.c: an address stays with a set of servers.
type localityReplicated struct {
	stateless
	sets map[netip.Addr]*serverSet
}

// serverSet holds the newest member first.
type serverSet struct {
	members  []*dest
	modified uint64 // at which tick
}

// setExpiration is lblcr_expiration.
const setExpiration = 24 * time.Hour

func (l *localityReplicated) choose(d *Director, s *service, r request) *dest {
	address := r.virtual.Addr()
	set := l.sets[address]
	if set != nil {
		least := set.least()
		if len(set.members) > 1 && d.now > set.modified+uint64(d.Ticks(setExpiration)) {
			set.drop(set.most(), d.now)
		}
		if least != nil && !busy(s, least) {
			return least
		}
	}
	found := weightedLeast(s)
	if found == nil {
		return nil
	}
	if set == nil {
		set = &serverSet{modified: d.now}
		l.sets[address] = set
	}
	if !slices.Contains(set.members, found) {
		set.members = slices.Insert(set.members, 0, found)
		set.modified = d.now
	}
	return found
}

// least is the member with the least load for its weight (ip_vs_dest_set_min).
func (set *serverSet) least() *dest {
	var found *dest
	for _, m := range set.members {
		switch {
		case m.overloaded || !m.available:
		case found == nil:
			if m.Weight > 0 {
				found = m
			}
		case found.overhead()*int64(m.Weight) > m.overhead()*int64(found.Weight):
			found = m
		}
	}
	return found
}

// most is the member with the most load for its weight (ip_vs_dest_set_max).
func (set *serverSet) most() *dest {
	var found *dest
	for _, m := range set.members {
		if m.Weight > 0 && (found == nil || found.overhead()*int64(m.Weight) < m.overhead()*int64(found.Weight)) {
			found = m
		}
	}
	return found
}

func (set *serverSet) drop(m *dest, now uint64) {
	if at := slices.Index(set.members, m); at >= 0 {
		set.members = slices.Delete(set.members, at, at+1)
		set.modified = now
	}
}
