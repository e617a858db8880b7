// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// marks are the rules of firewall marks and where they stand in the maps.
type marks struct {
	rules   ipvs.MarkRules
	places  map[ipvs.MarkRule]uint32 // in mark_rules
	deleted map[uint32]netip.Prefix  // places of deleted ones, whose VIPs still count
	free    []uint32
	vips    map[netip.Prefix]int // places with this VIP

	lists   map[directorMarkKey]directorMarkList
	regions regions // of mark_steps

	reaped time.Time
}

// reapMarksInterval is how often to look for VIPs that no connection needs any more.
const reapMarksInterval = time.Minute

// MarkRules returns all rules.
func (d *Dataplane) MarkRules() []ipvs.MarkRule {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marks.rules.All()
}

// AddMarkRules adds all the rules that are not there or, with an error, none.
func (d *Dataplane) AddMarkRules(rules ...ipvs.MarkRule) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	added, err := d.marks.rules.Add(rules...)
	if err != nil {
		return err
	}
	if len(added) > len(d.marks.free) {
		d.reapMarks(time.Now())
	}
	if len(added) > len(d.marks.free) {
		d.marks.rules.Delete(added...)
		return fmt.Errorf("no room for more than %d mark rules", len(d.markRules.at))
	}
	for _, r := range added {
		d.coverMarked(r.VIP)
	}
	if err := d.writeMarkLists(d.marks.within(added)); err != nil {
		for _, r := range d.marks.rules.Delete(added...) {
			d.uncoverMarked(r.VIP)
		}
		return err
	}
	for _, r := range added {
		place := pop(&d.marks.free)
		d.marks.places[r] = place
		d.markRules.at[place] = toMarkRule(r, directorMarkUseMARK_CONFIGURED)
	}
	d.countMarkRules()
	return nil
}

// DeleteMarkRules removes the rules for the same VIPs, protocols and ports,
// whatever their mark, and returns how many were there. Connections that came by
// them stay.
func (d *Dataplane) DeleteMarkRules(rules ...ipvs.MarkRule) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	deleted := d.marks.rules.Delete(rules...)
	for _, r := range deleted {
		place := d.marks.places[r]
		delete(d.marks.places, r)
		if d.marks.vips[r.VIP] > 1 {
			d.freeMarkRule(place, r.VIP)
			continue
		}
		d.markRules.at[place].Use = directorMarkUseMARK_DELETED
		d.marks.deleted[place] = r.VIP
	}
	d.countMarkRules()
	return len(deleted), d.writeMarkLists(d.marks.within(deleted))
}

// countMarkRules lets the datapath look for marks, or spares it that.
func (d *Dataplane) countMarkRules() {
	atomic.StoreUint32(&d.settings.MarkRules, uint32(len(d.marks.places)))
}

// coverMarked lets packets to a rule's VIPs in.
func (d *Dataplane) coverMarked(vip netip.Prefix) {
	d.marks.vips[vip]++
	if d.marks.vips[vip] == 1 {
		d.vips.addNetwork(vip)
	}
}

func (d *Dataplane) uncoverMarked(vip netip.Prefix) {
	d.marks.vips[vip]--
	if d.marks.vips[vip] == 0 {
		delete(d.marks.vips, vip)
		d.vips.removeNetwork(vip)
	}
}

func (d *Dataplane) freeMarkRule(place uint32, vip netip.Prefix) {
	d.markRules.at[place] = directorMarkRule{}
	d.marks.free = append(d.marks.free, place)
	d.uncoverMarked(vip)
}

// reapMarks stops covering VIPs of deleted rules that have no connections left.
func (d *Dataplane) reapMarks(now time.Time) {
	d.marks.reaped = now
	if len(d.marks.deleted) == 0 {
		return
	}
	needed := d.connected(d.marks.deleted)
	for place, vip := range d.marks.deleted {
		if !needed[vip] {
			delete(d.marks.deleted, place)
			d.freeMarkRule(place, vip)
		}
	}
}

// connected returns the networks that have a connection to one of their VIPs.
func (d *Dataplane) connected(networks map[uint32]netip.Prefix) map[netip.Prefix]bool {
	lengths := make(map[int]bool)
	for _, n := range networks {
		lengths[n.Bits()] = true
	}
	found := make(map[netip.Prefix]bool)
	for e := range d.live() {
		vip := fromAddr(e.conn.Vip)
		for bits := range lengths {
			if n, err := vip.Prefix(bits); err == nil {
				found[n] = true
			}
		}
	}
	return found
}

// adoptMarks learns the rules from the maps, and finishes what an earlier
// director may have been killed in the middle of.
func (d *Dataplane) adoptMarks() error {
	d.marks = marks{
		places:  make(map[ipvs.MarkRule]uint32),
		deleted: make(map[uint32]netip.Prefix),
		vips:    make(map[netip.Prefix]int),
		lists:   make(map[directorMarkKey]directorMarkList),
	}
	for i := len(d.markRules.at) - 1; i >= 0; i-- {
		if err := d.adoptMarkRule(uint32(i)); err != nil {
			return err
		}
	}
	var used []region
	vips := make(map[netip.Prefix]bool)
	for r := range d.marks.places {
		vips[r.VIP] = true
	}
	var key directorMarkKey
	var list directorMarkList
	lists := d.maps.MarkLists.Iterate()
	for lists.Next(&key, &list) {
		d.marks.lists[key] = list
		used = append(used, region{list.First, regionSize(int(list.Count))})
		vips[fromMarkKey(key)] = true
	}
	if err := lists.Err(); err != nil {
		return fmt.Errorf("read marks: %w", err)
	}
	d.marks.regions.adopt(used, uint32(len(d.markSteps.at)))
	d.countMarkRules()
	return d.writeMarkLists(vips)
}

func (d *Dataplane) adoptMarkRule(place uint32) error {
	entry := d.markRules.at[place]
	r := fromMarkRule(entry)
	switch entry.Use {
	case directorMarkUseMARK_CONFIGURED:
		added, err := d.marks.rules.Add(r)
		if err != nil {
			return fmt.Errorf("adopt: %w", err)
		}
		if len(added) == 0 { // twice
			d.markRules.at[place] = directorMarkRule{}
			d.marks.free = append(d.marks.free, place)
			return nil
		}
		d.marks.places[r] = place
	case directorMarkUseMARK_DELETED:
		d.marks.deleted[place] = r.VIP
	default:
		d.marks.free = append(d.marks.free, place)
		return nil
	}
	d.coverMarked(r.VIP)
	return nil
}
