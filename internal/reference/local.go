// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Alone is the verdict of what the director itself sends and nobody looks at. The
// datapath counts no such packets.
const Alone Verdict = "alone"

// Send is what becomes of a packet that the director itself sends, where it
// leaves: replies are looked for before requests (ip_vs_ops4: LOCAL_OUT). Its MAC
// addresses do not matter. What goes to the director's own stack has none.
func (d *Director) Send(frame []byte) Outcome {
	p := &d.packet
	if p.parse(frame) != "" {
		return Outcome{Verdict: Alone}
	}
	headed := isBalanced(p.proto) && p.piece.offset == 0 && p.parseTransport() == ""
	answer := d.sendRest
	if headed {
		answer = d.sendReply
	}
	if o, done := answer(p); done {
		return o
	}
	if !headed || p.fragment {
		if d.isVIP(p.dst.Addr()) || d.isErrorOfLocal(p) {
			return d.receiveOwn(frame)
		}
		return Outcome{Verdict: Alone}
	}
	f := flow{p.proto, p.src, p.dst}
	if !d.isVIP(p.dst.Addr()) || d.serves(f) == nil && d.conns.in[f] == nil {
		return Outcome{Verdict: Alone}
	}
	return d.receiveOwn(frame)
}

// receiveOwn is for what the director itself sends. From 127.0.0.1 it stays there
// (__ip_vs_get_out_rt).
func (d *Director) receiveOwn(frame []byte) Outcome {
	o := d.receive(frame, true)
	switch o.Verdict {
	case MasqIn, Tunnel, Route, NoPort, ErrorIn:
		if addressAt(source.address(d.packet.ip)).IsLoopback() {
			return Outcome{Verdict: Loopback, State: o.State}
		}
	}
	return o
}

// isErrorOfLocal tells whether it may be a local real server's ICMP error about a
// request.
func (d *Director) isErrorOfLocal(p *packet) bool {
	of := protoICMP
	if is6(p.ip) {
		of = protoICMPv6
	}
	return !p.fragment && p.proto == of && len(p.payload()) > 0 && isFollowed(p.payload()[0], is6(p.ip)) &&
		d.hasLocal() && (d.isRIP(p.src.Addr()) || d.isVIP(p.src.Addr()))
}

// hasLocal tells whether the director is a real server.
func (d *Director) hasLocal() bool {
	is := func(dest *dest) bool { return d.ways[dest.RIP.Addr()].Local }
	return slices.ContainsFunc(d.trash, is) ||
		slices.ContainsFunc(d.services, func(s *service) bool { return slices.ContainsFunc(s.dests, is) })
}

// sendReply handles what a real server on the director answers: with NAT it comes
// from the VIP then, else it does already. The rest of its fragments follow the first.
func (d *Director) sendReply(p *packet) (o Outcome, done bool) {
	c, done := d.served(p)
	if c == nil {
		return Outcome{}, done
	}
	if c.isFTPControl() && !p.fragment {
		return d.receiveOwn(p.frame), true
	}
	if p.fragment {
		d.firsts[p.fragmentKey()] = &first{src: p.src, dst: p.dst, end: len(p.payload()), expires: d.now + uint64(d.Ticks(firstLife))}
	}
	if c.state != Killed {
		c.countOut(len(p.ip))
		d.step(c, p, true)
	}
	if c.method != ipvs.Masq {
		return Outcome{Verdict: Local, State: c.state}, true
	}
	return d.disguise(c, p), true
}

// sendRest handles a later fragment of one.
func (d *Director) sendRest(p *packet) (o Outcome, done bool) {
	f := d.firsts[p.fragmentKey()]
	if p.piece.offset == 0 || f == nil || f.expires <= d.now {
		return Outcome{}, false
	}
	p.src, p.dst = f.src, f.dst
	c, done := d.served(p)
	if c == nil {
		return Outcome{}, done
	}
	if c.state != Killed {
		c.countRestOut(len(p.payload()))
	}
	if c.method != ipvs.Masq {
		return Outcome{Verdict: Local}, true
	}
	d.out = append(d.out[:0], p.frame[:ethernetHeader]...)
	d.out = append(d.out, p.ip...)
	source.setAddress(d.out[ethernetHeader:], c.virtual.Addr())
	return Outcome{Verdict: MasqOut, Frame: d.out}, true
}

// served finds the connection that a local real server answers on.
func (d *Director) served(p *packet) (c *conn, ambiguous bool) {
	c, ambiguous = d.conns.findReply(flow{p.proto, p.dst, p.src})
	if ambiguous || c != nil && d.isLocal(c) {
		return c, ambiguous
	}
	if c = d.conns.in[flow{p.proto, p.dst, p.src}]; c != nil && c.method != ipvs.Masq && d.isLocal(c) {
		return c, false
	}
	return nil, false
}

// isFTPControl tells whether what a NAT server says on a connection is overheard.
func (c *conn) isFTPControl() bool {
	return c.method == ipvs.Masq && c.proto == ipvs.TCP && c.virtual.Port() == ftpPort
}

func (d *Director) isLocal(c *conn) bool { return d.ways[c.server.Addr()].Local }

// disguise makes a reply come from the VIP. SCTP keeps its port (docs/local.md).
func (d *Director) disguise(c *conn, p *packet) Outcome {
	if p.proto == ipvs.SCTP && c.virtual.Port() != c.server.Port() {
		return Outcome{Verdict: NoRoom, State: c.state}
	}
	d.out = append(d.out[:0], p.frame[:ethernetHeader]...)
	d.out = append(d.out, p.ip...)
	p.setEndpoint(d.out[ethernetHeader:], source, c.virtual)
	return Outcome{Verdict: MasqOut, State: c.state, Frame: d.out}
}
