// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// AddMark has packets marked, by a rule that contradicts no other.
func (d *Director) AddMark(r ipvs.MarkRule) {
	if !slices.Contains(d.marks, r) {
		d.marks = append(d.marks, r)
	}
}

// DeleteMark ends the rule for the same VIP, protocol and ports, and tells
// whether there was one.
func (d *Director) DeleteMark(r ipvs.MarkRule) bool {
	before := len(d.marks)
	d.marks = slices.DeleteFunc(d.marks, func(o ipvs.MarkRule) bool {
		return o.VIP == r.VIP && o.Protocol == r.Protocol && o.Ports == r.Ports
	})
	return len(d.marks) < before
}

// mark is that of the most specific rule (docs/ipvsadm.md, firewall marks): the
// longest prefix, then one that names the protocol, then the fewest ports.
func (d *Director) mark(proto ipvs.Protocol, to netip.AddrPort) uint32 {
	var best ipvs.MarkRule
	for _, r := range d.marks {
		fits := r.VIP.Contains(to.Addr()) && (r.Protocol == 0 || r.Protocol == proto) &&
			r.Ports.First <= to.Port() && to.Port() <= r.Ports.Last
		if fits && (best.Mark == 0 || isMoreSpecific(r, best)) {
			best = r
		}
	}
	return best.Mark
}

func isMoreSpecific(r, than ipvs.MarkRule) bool {
	switch {
	case r.VIP.Bits() != than.VIP.Bits():
		return r.VIP.Bits() > than.VIP.Bits()
	case (r.Protocol == 0) != (than.Protocol == 0):
		return r.Protocol != 0
	}
	return r.Ports.Last-r.Ports.First < than.Ports.Last-than.Ports.First
}

// isMarked tells whether packets to an address may have a mark.
func (d *Director) isMarked(a netip.Addr) bool {
	return slices.ContainsFunc(d.marks, func(r ipvs.MarkRule) bool { return r.VIP.Contains(a) })
}

// markAddress is a mark in place of a VIP, by which templates are known: its
// first four bytes (union nf_inet_addr).
func markAddress(mark uint32, ipv6 bool) netip.Addr {
	b := [16]byte{byte(mark >> 24), byte(mark >> 16), byte(mark >> 8), byte(mark)}
	if ipv6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
