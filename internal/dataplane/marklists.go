// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// markWrite is one list to be written; without steps, to be removed.
type markWrite struct {
	key   directorMarkKey
	steps []ipvs.MarkStep
	list  directorMarkList
}

// within returns the VIPs whose lists change with the rules: their own and
// those of networks inside.
func (m *marks) within(rules []ipvs.MarkRule) map[netip.Prefix]bool {
	vips := make(map[netip.Prefix]bool)
	for _, r := range rules {
		if vips[r.VIP] {
			continue
		}
		vips[r.VIP] = true
		for _, vip := range m.rules.VIPs(r.VIP) {
			vips[vip] = true
		}
	}
	return vips
}

// writeMarkLists makes the lists of VIPs what the rules say. Each changes
// whole. It fails before the first if there is no room for all.
func (d *Dataplane) writeMarkLists(vips map[netip.Prefix]bool) error {
	writes, now := d.planMarkLists(vips), time.Now()
	for i := range writes {
		w := &writes[i]
		if w.steps == nil {
			continue
		}
		first, ok := d.marks.regions.take(regionSize(len(w.steps)), now)
		if !ok {
			for _, taken := range writes[:i] {
				d.giveBackSteps(taken.list, now)
			}
			return fmt.Errorf("no room for more than %d changes of mark from port to port", len(d.markSteps.at))
		}
		w.list = directorMarkList{First: first, Count: uint32(len(w.steps))}
	}
	for _, w := range writes {
		if err := d.writeMarkList(w, now); err != nil {
			return err
		}
	}
	return nil
}

// planMarkLists returns the lists that are not as the rules have them.
func (d *Dataplane) planMarkLists(vips map[netip.Prefix]bool) (writes []markWrite) {
	for vip := range vips {
		for _, protocol := range ipvs.Protocols {
			w := markWrite{key: toMarkKey(vip, protocol)}
			if d.marks.rules.Names(vip, protocol) {
				w.steps = d.marks.rules.MarkSteps(vip, protocol)
			}
			if !slices.Equal(d.readMarkSteps(w.key), w.steps) {
				writes = append(writes, w)
			}
		}
	}
	return writes
}

func (d *Dataplane) readMarkSteps(key directorMarkKey) (steps []ipvs.MarkStep) {
	list := d.marks.lists[key]
	for _, s := range d.markSteps.at[list.First : list.First+list.Count] {
		steps = append(steps, ipvs.MarkStep{Port: uint16(s.Port), Mark: s.Mark})
	}
	return steps
}

func (d *Dataplane) writeMarkList(w markWrite, now time.Time) error {
	old := d.marks.lists[w.key]
	if w.steps == nil {
		delete(d.marks.lists, w.key)
		if err := d.maps.MarkLists.Delete(w.key); err != nil {
			return fmt.Errorf("remove marks of %s: %w", fromMarkKey(w.key), err)
		}
	} else {
		for i, s := range w.steps {
			d.markSteps.at[w.list.First+uint32(i)] = directorMarkStep{Port: uint32(s.Port), Mark: s.Mark}
		}
		d.marks.lists[w.key] = w.list
		if err := d.maps.MarkLists.Put(w.key, w.list); err != nil {
			return fmt.Errorf("enter marks of %s: %w", fromMarkKey(w.key), err)
		}
	}
	d.giveBackSteps(old, now)
	return nil
}

func (d *Dataplane) giveBackSteps(list directorMarkList, now time.Time) {
	if list.Count > 0 {
		d.marks.regions.giveBack(list.First, regionSize(int(list.Count)), now)
	}
}
