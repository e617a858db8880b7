// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// MarkRules are rules that do not contradict each other: of two for the same
// VIP and protocol, the ports of one are apart from the other's or inside them,
// and never the same. The zero value is none.
type MarkRules struct {
	scopes map[markScope][]MarkRule // by ports, a range before those inside it
	vips   map[netip.Prefix]int     // how many rules each has
}

// markScope is what rules must have in common to contradict each other.
type markScope struct {
	vip      netip.Prefix
	protocol Protocol
}

func (r MarkRule) scope() markScope {
	return markScope{r.VIP, r.Protocol}
}

// Add adds those of the rules that are not there and returns them, or adds none
// if one of them is wrong or contradicts another.
func (m *MarkRules) Add(rules ...MarkRule) (added []MarkRule, err error) {
	for _, r := range rules {
		i, found := m.find(r)
		if found && m.scopes[r.scope()][i] == r {
			continue
		}
		if err := m.check(r); err != nil {
			m.Delete(added...)
			return nil, err
		}
		m.insert(i, r)
		added = append(added, r)
	}
	return added, nil
}

func (m *MarkRules) check(r MarkRule) error {
	if err := r.Check(); err != nil {
		return err
	}
	for _, h := range m.scopes[r.scope()] {
		switch {
		case h.Ports == r.Ports:
			return fmt.Errorf("rule %s contradicts %s: delete that one first", r, h)
		case h.Ports.overlaps(r.Ports) && !h.Ports.contains(r.Ports) && !r.Ports.contains(h.Ports):
			return fmt.Errorf("rule %s contradicts %s: they share some ports, and neither has all of the other's", r, h)
		}
	}
	return nil
}

func (m *MarkRules) insert(i int, r MarkRule) {
	if m.scopes == nil {
		m.scopes, m.vips = make(map[markScope][]MarkRule), make(map[netip.Prefix]int)
	}
	m.scopes[r.scope()] = slices.Insert(m.scopes[r.scope()], i, r)
	m.vips[r.VIP]++
}

// find returns where the rule for the same VIP, protocol and ports is or
// belongs. Its mark does not matter.
func (m *MarkRules) find(r MarkRule) (int, bool) {
	return slices.BinarySearchFunc(m.scopes[r.scope()], r, func(a, b MarkRule) int { return a.Ports.compare(b.Ports) })
}

// Delete takes out the rules for the same VIPs, protocols and ports, whatever
// their mark, and returns those that were there.
func (m *MarkRules) Delete(rules ...MarkRule) (deleted []MarkRule) {
	for _, r := range rules {
		i, found := m.find(r)
		if !found {
			continue
		}
		scope := r.scope()
		deleted = append(deleted, m.scopes[scope][i])
		m.scopes[scope] = slices.Delete(m.scopes[scope], i, i+1)
		if len(m.scopes[scope]) == 0 {
			delete(m.scopes, scope)
		}
		m.vips[r.VIP]--
		if m.vips[r.VIP] == 0 {
			delete(m.vips, r.VIP)
		}
	}
	return deleted
}

// All returns the rules by family, VIP, protocol and ports.
func (m *MarkRules) All() []MarkRule {
	all := slices.Concat(slices.Collect(maps.Values(m.scopes))...)
	slices.SortFunc(all, func(a, b MarkRule) int {
		return cmp.Or(a.VIP.Addr().Compare(b.VIP.Addr()), cmp.Compare(a.VIP.Bits(), b.VIP.Bits()),
			cmp.Compare(a.Protocol, b.Protocol), a.Ports.compare(b.Ports))
	})
	return all
}

// VIPs returns the VIPs that rules have and that lie inside network, in no order.
func (m *MarkRules) VIPs(network netip.Prefix) (vips []netip.Prefix) {
	for vip := range m.vips {
		if vip.Bits() >= network.Bits() && network.Contains(vip.Addr()) {
			vips = append(vips, vip)
		}
	}
	return vips
}

// Names tells whether a rule is for exactly this VIP and, by name or not, for
// the protocol.
func (m *MarkRules) Names(vip netip.Prefix, protocol Protocol) bool {
	return len(m.scopes[markScope{vip, protocol}]) > 0 || len(m.scopes[markScope{vip, 0}]) > 0
}

// layers returns the rules for a VIP and a protocol, the less specific first.
func (m *MarkRules) layers(vip netip.Prefix, protocol Protocol) (rules []MarkRule) {
	for bits := range vip.Bits() + 1 {
		network := netip.PrefixFrom(vip.Addr(), bits).Masked()
		if m.vips[network] == 0 {
			continue
		}
		rules = append(rules, m.scopes[markScope{network, 0}]...)
		rules = append(rules, m.scopes[markScope{network, protocol}]...)
	}
	return rules
}

// Mark returns the mark of packets to an address and port, 0 if none.
func (m *MarkRules) Mark(protocol Protocol, to netip.AddrPort) (mark uint32) {
	for _, r := range m.layers(netip.PrefixFrom(to.Addr(), to.Addr().BitLen()), protocol) {
		if r.Ports.First <= to.Port() && to.Port() <= r.Ports.Last {
			mark = r.Mark
		}
	}
	return mark
}

// MarkStep says which mark ports have from this one on.
type MarkStep struct {
	Port uint16
	Mark uint32 // 0: none
}

// MarkSteps returns the marks of packets to a VIP, by port. The first step is
// at port 0, and no two in a row have the same mark.
func (m *MarkRules) MarkSteps(vip netip.Prefix, protocol Protocol) []MarkStep {
	rules := m.layers(vip, protocol)
	bounds := []int{0}
	for _, r := range rules {
		bounds = append(bounds, int(r.Ports.First), int(r.Ports.Last)+1)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	marks := make([]uint32, len(bounds)) // from each bound to the next
	for _, r := range rules {
		i, _ := slices.BinarySearch(bounds, int(r.Ports.First))
		for ; i < len(bounds) && bounds[i] <= int(r.Ports.Last); i++ {
			marks[i] = r.Mark
		}
	}
	steps := []MarkStep{{0, marks[0]}}
	for i, bound := range bounds {
		if bound <= int(AllPorts.Last) && marks[i] != steps[len(steps)-1].Mark {
			steps = append(steps, MarkStep{uint16(bound), marks[i]})
		}
	}
	return steps
}
