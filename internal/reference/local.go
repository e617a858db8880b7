// SPDX-License-Identifier: Apache-2.0

package reference

import "github.com/lvsx/lvsx/internal/ipvs"

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
	if p.fragment || !isBalanced(p.proto) || p.parseTransport() != "" {
		if d.isVIP(p.dst.Addr()) {
			return d.receive(frame, true)
		}
		return Outcome{Verdict: Alone}
	}
	if o, done := d.sendReply(p); done {
		return o
	}
	f := flow{p.proto, p.src, p.dst}
	if p.src.Addr().IsLoopback() || !d.isVIP(p.dst.Addr()) || d.serves(f) == nil && d.conns.in[f] == nil {
		return Outcome{Verdict: Alone}
	}
	return d.receive(frame, true)
}

// sendReply handles what a real server on the director answers: with NAT it comes
// from the VIP then, else it does already.
func (d *Director) sendReply(p *packet) (o Outcome, done bool) {
	c, ambiguous := d.conns.findReply(flow{p.proto, p.dst, p.src})
	switch {
	case ambiguous:
		return Outcome{}, true
	case c != nil && d.isLocal(c):
		d.hear(c, p)
		return d.disguise(c, p), true
	}
	if c = d.conns.in[flow{p.proto, p.dst, p.src}]; c != nil && c.method != ipvs.Masq && d.isLocal(c) {
		d.hear(c, p)
		return Outcome{Verdict: Local, State: c.state}, true
	}
	return Outcome{}, false
}

func (d *Director) isLocal(c *conn) bool { return d.ways[c.server.Addr()].Local }

// hear moves a connection on by what its server says.
func (d *Director) hear(c *conn, p *packet) {
	if c.state != Killed {
		c.countOut(len(p.ip))
		d.step(c, p, true)
	}
}

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
