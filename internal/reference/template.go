// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// template sends the connections of a client, or of a network of clients, to one
// server (a struct ip_vs_conn with IP_VS_CONN_F_TEMPLATE).
type template struct {
	proto    ipvs.Protocol
	client   netip.Addr
	virtual  netip.AddrPort // port 0: all of them
	call     string         // of the engine sip
	server   netip.AddrPort
	dest     *dest
	timeout  uint32 // in ticks
	expires  uint64 // at which tick
	controls int    // connections that were made from it
	assured  bool   // one of them was answered
	moved    bool   // unusable, and waiting for its end where nobody finds it

	postponed bool   // it is since its timer was last started
	rang      uint64 // at which tick that was
}

// postponement is for how long a template lives on that still has connections.
const postponement = time.Minute

// persist finds the server that the client has, or a new one
// (ip_vs_sched_persist).
func (d *Director) persist(s *service, f flow, p *packet) (choice, Verdict) {
	call := ""
	if s.Engine == ipvs.SIP {
		if call = callID(p); call == "" {
			return choice{}, NoCallID
		}
	}
	t := d.findTemplate(s, f, call)
	if t == nil {
		to := s.scheduler.choose(d, s, scheduled(f, p))
		if to == nil {
			return d.leave(s, f, p)
		}
		if d.isFull() {
			return choice{}, TableFull
		}
		t = d.newTemplate(s, f, call, to)
	}
	t.expires, t.postponed = d.now+uint64(t.timeout), false
	ch := choice{dest: t.dest, port: f.virtual.Port(), onePacket: s.isOnePacket(f), template: t}
	if f.virtual.Port() == s.VIP.Port() && t.dest.RIP.Port() != 0 {
		ch.port = t.dest.RIP.Port()
	}
	return ch, ""
}

// templateOf is what the client's template is known by. A service of one port
// has templates of its own; those of FTP and of port 0 are for all ports, those of a mark for all
// protocols, too.
func templateOf(s *service, f flow) template {
	t := template{proto: f.proto, client: masked(s, f.client.Addr()), virtual: netip.AddrPortFrom(f.virtual.Addr(), 0)}
	switch {
	case f.virtual.Port() == s.VIP.Port() && s.VIP.Port() != 21:
		t.virtual = f.virtual
	case s.Mark != 0:
		t.proto, t.virtual = 0, netip.AddrPortFrom(markAddress(s.Mark, s.IPv6()), 0)
	}
	return t
}

// masked is the client's network.
func masked(s *service, a netip.Addr) netip.Addr {
	if a.Is6() {
		prefix, _ := a.Prefix(int(s.Netmask))
		return prefix.Addr()
	}
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])&s.Netmask)
	return netip.AddrFrom4(b)
}

// findTemplate returns the one of the client. One that is of no use is moved away
// (ip_vs_check_template).
func (d *Director) findTemplate(s *service, f flow, call string) *template {
	key := templateOf(s, f)
	for _, t := range d.templates {
		if t.moved || t.proto != key.proto || t.client != key.client || t.virtual != key.virtual || t.call != call {
			continue
		}
		if d.isUsable(t) {
			return t
		}
		t.moved = true
		t.virtual = netip.AddrPortFrom(t.virtual.Addr(), 0xffff)
		t.server = netip.AddrPortFrom(t.server.Addr(), 0xffff)
		return nil
	}
	return nil
}

func (d *Director) newTemplate(s *service, f flow, call string, to *dest) *template {
	t := templateOf(s, f)
	t.call, t.dest, t.timeout = call, to, d.Ticks(time.Duration(s.Timeout)*time.Second)
	t.server = netip.AddrPortFrom(to.RIP.Addr(), 0)
	if t.virtual.Port() != 0 {
		t.server = to.RIP
	}
	to.persistent++
	d.templates = append(d.templates, &t)
	return &t
}

// control makes a connection the template's.
func (c *conn) control(t *template) {
	c.template = t
	t.controls++
}

// release lets go of a connection's template. In one tick the timer and the last
// connection's end come in any order: here the end comes first.
func (d *Director) release(t *template) {
	t.controls--
	if t.controls == 0 && t.postponed && t.rang == d.now {
		d.endTemplate(t)
	}
}

// assure notes that a connection of a template was answered
// (ip_vs_control_assure_ct).
func (c *conn) assure() {
	if c.template != nil {
		c.template.assured = true
	}
}

// expireTemplate is its timer (ip_vs_conn_expire).
func (d *Director) expireTemplate(t *template) {
	if t.controls > 0 {
		t.timeout = d.Ticks(postponement)
		t.postponed, t.rang = true, d.now
		t.expires += uint64(t.timeout)
		return
	}
	d.endTemplate(t)
}

func (d *Director) endTemplate(t *template) {
	t.dest.persistent--
	d.templates = slices.DeleteFunc(d.templates, func(other *template) bool { return other == t })
}

// nextTemplate returns the one whose timer ends first, until a tick.
func (d *Director) nextTemplate(until uint64) (next *template) {
	for _, t := range d.templates {
		if t.expires <= until && (next == nil || t.expires < next.expires) {
			next = t
		}
	}
	return next
}

func (t *template) list(d *Director) ipvs.Conn {
	state := "NONE"
	if t.assured {
		state = "ASSURED"
	}
	listed := ipvs.Conn{
		Protocol: t.proto, CIP: netip.AddrPortFrom(t.client, 0), VIP: t.virtual, RIP: t.server,
		State: state, Expires: d.Duration(uint32(t.expires - d.now)), Template: true,
	}
	if t.call != "" {
		listed.Engine, listed.EngineData = ipvs.SIP, t.call
	}
	return listed
}
