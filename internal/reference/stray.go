// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// stray answers what a NAT server sends from its service's port and what belongs
// to no connection (ip_vs_out_hook: nat_icmp_send). What is for somebody else the
// director answers in its own name, and has taken a hop off by then (ip_forward).
func (d *Director) stray(p *packet) (o Outcome, done bool) {
	if !d.Settings.NATICMPSend || !d.isNATServer(p.proto, p.src) || ttl(p.ip) <= 1 || endsConnection(p) {
		return Outcome{}, false
	}
	own := d.ways[p.src.Addr()].Source
	if d.isVIP(p.dst.Addr()) || p.dst.Addr() == own {
		return d.answer(p, Stray, portUnreachable, 0), true
	}
	if !own.IsValid() {
		return Outcome{}, false
	}
	if !d.mayComplain() {
		return Outcome{Verdict: Unanswered}, true
	}
	about := slices.Clone(p.ip)
	lowerTTL(about)
	d.complainFrom(own, about, p.from(), portUnreachable, 0)
	return Outcome{Verdict: Stray, Frame: d.out, NewHeader: true}, true
}

// isNATServer tells whether an address and port is a NAT destination in service
// (ip_vs_has_real_service). Those of a mark have all protocols.
func (d *Director) isNATServer(proto ipvs.Protocol, a netip.AddrPort) bool {
	return slices.ContainsFunc(d.services, func(s *service) bool {
		return (s.Protocol == proto || s.Mark != 0) && slices.ContainsFunc(s.dests, func(dest *dest) bool {
			return dest.RIP == a && dest.Forwarding == ipvs.Masq
		})
	})
}

// endsConnection tells of a RST or an ABORT, which nobody answers.
func endsConnection(p *packet) bool {
	switch p.proto {
	case ipvs.TCP:
		return p.flags()&flagRST != 0
	case ipvs.SCTP:
		kind, _, ok := chunkAt(p.payload(), sctpHeader)
		return ok && kind == chunkAbort
	}
	return false
}
