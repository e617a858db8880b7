// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Receive does with one Ethernet frame what a director does. The outcome is empty
// and nothing is done if a packet could be about either of two connections.
func (d *Director) Receive(frame []byte) Outcome {
	return d.receive(frame, false)
}

// receive does it with one that came in, or with the director's own.
func (d *Director) receive(frame []byte, own bool) Outcome {
	o := d.balance(frame, own, false)
	switch p := &d.packet; {
	case !d.mayBeWrapped(p, o):
		return o
	case d.Without[ProgramFront]:
		return Outcome{Verdict: NoProgram}
	default:
		return d.receiveWrapped(p, o)
	}
}

// balance does it with a packet as it is.
func (d *Director) balance(frame []byte, own, unwrapped bool) Outcome {
	p := &d.packet
	if v := p.parse(frame); v != "" {
		return Outcome{Verdict: v}
	}
	p.own, p.behind, p.unwrapped = own, own, unwrapped
	switch {
	case p.proto == protoICMP && !is6(p.ip), p.proto == protoICMPv6 && is6(p.ip):
		if d.Without[ProgramError] {
			return Outcome{Verdict: NoProgram}
		}
		return d.relate(p)
	case !isBalanced(p.proto):
		return Outcome{Verdict: OtherProtocol}
	}
	if !d.isVIP(p.dst.Addr().Unmap()) && !d.isRIP(p.src.Addr().Unmap()) {
		return Outcome{Verdict: NotOurs}
	}
	switch {
	case !d.isFor(p):
		return Outcome{Verdict: OtherHost}
	case p.isMartian():
		return Outcome{Verdict: Martian}
	}
	if p.fragment {
		if o, done := d.receiveFragment(p); done {
			return o
		}
	}
	if v := p.parseTransport(); v != "" {
		return Outcome{Verdict: v}
	}
	c, ambiguous := d.conns.findReply(flow{p.proto, p.dst, p.src})
	switch {
	case ambiguous:
		d.unnote(p)
		return Outcome{}
	case c != nil:
		return d.reply(c, p)
	}
	if o, done := d.stray(p); done {
		return o
	}
	return d.request(p)
}

// isFor tells whether the director is the frame's receiver.
func (d *Director) isFor(p *packet) bool { return p.own || p.to() == d.MAC }

// isVIP tells whether an address has a service or may have a mark, or did and is
// remembered.
func (d *Director) isVIP(a netip.Addr) bool {
	of := func(s *service) bool { return s.Mark == 0 && s.VIP.Addr() == a }
	return d.TakenForVIP(a) || slices.ContainsFunc(d.services, of) || d.isMarked(a) || d.conns.vips[a] > 0 ||
		slices.ContainsFunc(d.trash, func(dest *dest) bool { return of(dest.service) })
}

// isRIP tells whether an address is that of a NAT destination.
func (d *Director) isRIP(a netip.Addr) bool {
	is := func(dest *dest) bool { return dest.RIP.Addr() == a && dest.wasMasq }
	return d.TakenForRIP(a) || slices.ContainsFunc(d.services, func(s *service) bool { return slices.ContainsFunc(s.dests, is) }) ||
		slices.ContainsFunc(d.trash, is)
}

// request is a client's packet, ip_vs_in().
func (d *Director) request(p *packet) Outcome {
	c := d.conns.in[flow{p.proto, p.src, p.dst}]
	if c == nil || d.isReuse(c, p) || d.startsAnew(c, p) {
		var v Verdict
		if c, v = d.schedule(p, c); c == nil {
			return d.refuse(p, v)
		}
	}
	if c.isOrphan() {
		return d.part(c, p)
	}
	c.countIn(len(p.ip))
	d.countRequest(c)
	d.step(c, p, false)
	o := d.forward(c, p)
	if c.onePacket {
		if isFragment(p.ip) {
			d.firsts[p.fragmentKey()].once = c.dest
		}
		d.end(c)
		return o
	}
	o.State = c.state
	return o
}

// schedule gives a packet without a connection to a server. The connection that
// it ends counts until one is chosen: in the kernel it is a timer that ends it.
func (d *Director) schedule(p *packet, over *conn) (*conn, Verdict) {
	to, v := d.choose(p)
	if over != nil {
		d.end(over)
	}
	switch {
	case to.dest == nil:
		return nil, v
	case d.isFull() && !to.onePacket:
		return nil, TableFull
	}
	return d.begin(flow{p.proto, p.src, p.dst}, to, p.from()), ""
}

func isBalanced(proto ipvs.Protocol) bool {
	return proto == ipvs.TCP || proto == ipvs.UDP || proto == ipvs.SCTP
}

func isTCP(p *packet) bool { return p.proto == ipvs.TCP }

// choose finds the service and a server of it (ip_vs_schedule).
func (d *Director) choose(p *packet) (choice, Verdict) {
	if !d.isVIP(p.dst.Addr()) {
		return choice{}, NotOurs
	}
	if !d.maySchedule(p) {
		return choice{}, NoConnection
	}
	f := flow{p.proto, p.src, p.dst}
	if to, ok := d.expected(f); ok {
		return to, ""
	}
	return d.chooseServer(f, p)
}

// scheduled is the flow as schedulers see it: what an ICMP error quotes was sent
// to the client, which is the destination that dh, lblc and lblcr go by
// (ip_vs_dh_schedule: iph->daddr).
func scheduled(f flow, p *packet) flow {
	if p.proto != f.proto {
		f.virtual = netip.AddrPortFrom(f.client.Addr(), f.virtual.Port())
	}
	return f
}

// chooseServer is for the flow of a packet, or that which an ICMP error quotes.
func (d *Director) chooseServer(f flow, p *packet) (choice, Verdict) {
	s := d.serves(f)
	switch {
	case s == nil:
		return choice{}, NotOurs
	case d.drops():
		return choice{}, Defence
	case f.client.Port() == 20: // FTP's data is never scheduled
		return choice{}, NoConnection
	case s.Flags&ipvs.Persistent != 0:
		return d.persist(s, f, p)
	case s.Mark == 0 && f.virtual.Port() != s.VIP.Port(): // all ports, but one server for each: no
		return d.leave(s, f, p)
	}
	to := s.scheduler.choose(d, s, scheduled(f, p))
	if to == nil {
		return d.leave(s, f, p)
	}
	ch := choice{dest: to, port: to.RIP.Port(), onePacket: s.isOnePacket(f)}
	if ch.port == 0 {
		ch.port = f.virtual.Port()
	}
	return ch, ""
}

// isOnePacket tells whether each packet is a connection of its own.
func (s *service) isOnePacket(f flow) bool {
	return f.proto == ipvs.UDP && s.Flags&ipvs.OnePacket != 0
}

func (d *Director) refuse(p *packet, v Verdict) Outcome {
	if v == NoDestination {
		return d.answer(p, v, portUnreachable, 0)
	}
	return Outcome{Verdict: v}
}

// forward sends a client's packet to its server (ip_vs_xmit.c). What is in the
// way is looked for in the kernel's order.
func (d *Director) forward(c *conn, p *packet) Outcome {
	way := d.wayOf(p, c.server.Addr())
	switch {
	case c.method == bypass:
		return Outcome{Verdict: Bypass}
	case way.Local:
		return d.deliver(c.method, c.server.Addr(), p, func(ip []byte) {
			p.setEndpoint(ip, destination, c.server)
			d.overhear(c, ip, p.header, false)
		})
	case way.NoRoute:
		return d.answer(p, NoRoute, hostUnreachable, 0)
	case ttl(p.ip) <= 1:
		return d.answer(p, TTLExceeded, timeExceeded, 0)
	}
	mtu := d.mtu(c)
	switch {
	case way.Neighbour == (MAC{}): // the kernel would ask for it last, and wait
		return Outcome{Verdict: NoNeighbour}
	case d.isMerged(p) && !isSendable(p, way):
		return Outcome{Verdict: Merged}
	case d.isMerged(p): // goes on as it came
	case len(p.ip) > mtu && c.method == ipvs.Tunnel && c.server.Addr().Is6() && mtu < leastMTU6:
		return Outcome{Verdict: NeedsFragmenting} // __ip_vs_get_out_rt_v6() tells nobody
	case len(p.ip) > mtu && mayNotBreak(p.ip):
		return d.tooBig(p, mtu)
	case len(p.ip) > mtu:
		return Outcome{Verdict: NeedsFragmenting}
	}
	return d.send(c, p, way).by(way)
}

// wayOf is how a packet of a connection reaches its server. The director's own are
// sent by the stack, which can send by any interface.
func (d *Director) wayOf(p *packet, server netip.Addr) Way {
	way := d.ways[server]
	way.NoPort = way.NoPort && !p.own
	return way
}

// isSendable tells whether the stack takes a merged packet apart again where it
// goes (docs/verdicts.md).
func isSendable(p *packet, way Way) bool { return !way.NoPort && p.proto != ipvs.SCTP }

// isMerged tells whether the packet was not one on the wire.
func (d *Director) isMerged(p *packet) bool {
	return d.MTU != 0 && len(p.ip) > d.MTU && !p.own
}

// deliver gives a packet to the director itself, which is the server. NAT to
// 127.0.0.1 is for clients on the director (__ip_vs_get_out_rt).
func (d *Director) deliver(method ipvs.Forwarding, server netip.Addr, p *packet, translate func(ip []byte)) Outcome {
	if method != ipvs.Masq || !d.SeesOwn {
		return Outcome{Verdict: Local}
	}
	if server.IsLoopback() && !p.own {
		return Outcome{Verdict: Loopback}
	}
	translate(d.copyUp(p))
	return Outcome{Verdict: Local, Frame: d.out}
}

// mtu is what a packet to the connection's server may have.
func (d *Director) mtu(c *conn) int {
	mtu := d.wayMTU(c.dest)
	if c.method == ipvs.Tunnel {
		mtu -= c.dest.tunnel.overhead(c.server.Addr())
	}
	return mtu
}

func (d *Director) wayMTU(dest *dest) int {
	if dest.learnedMTU != 0 {
		return dest.learnedMTU
	}
	return d.ways[dest.RIP.Addr()].MTU
}

// tooBig tells the sender what may be sent. It quotes the packet as it would have
// left: a hop was taken off already.
func (d *Director) tooBig(p *packet, mtu int) Outcome {
	about := slices.Clone(p.ip)
	lowerTTL(about)
	d.complain(about, p.from(), packetTooBig, mtu)
	return Outcome{Verdict: TooBig, Frame: d.out, NewHeader: true}
}

func (d *Director) send(c *conn, p *packet, way Way) Outcome {
	switch c.method {
	case ipvs.Masq:
		ip := d.copyOf(p, way.Neighbour)
		lowerTTL(ip)
		p.setEndpoint(ip, destination, c.server)
		d.overhear(c, ip, p.header, false)
		return Outcome{Verdict: MasqIn, Frame: d.out}
	case ipvs.Tunnel:
		ip := d.copyOf(p, way.Neighbour)
		lowerTTL(ip)
		d.wrap(c.dest.tunnel, way.Source, c.server.Addr(), p.own)
		return Outcome{Verdict: Tunnel, Frame: d.out, NewHeader: true}
	}
	lowerTTL(d.copyOf(p, way.Neighbour))
	return Outcome{Verdict: Route, Frame: d.out}
}

// reply is a NAT server's packet, ip_vs_out(). The kernel's routing sees it
// before IPVS does.
func (d *Director) reply(c *conn, p *packet) Outcome {
	if ttl(p.ip) <= 1 {
		return Outcome{Verdict: ReplyExpired}
	}
	if c.state == Killed {
		return d.partReply(c, p)
	}
	c.countOut(len(p.ip))
	d.step(c, p, true)
	if d.isMerged(p) && !isSendable(p, Way{}) {
		return Outcome{Verdict: Merged, State: c.state}
	}
	if d.exceedsLink(c, p) {
		o := d.replyTooBig(c, p)
		o.State = c.state
		return o
	}
	p.behind = p.own || c.mac == (MAC{})
	ip := d.copyOf(p, c.mac)
	lowerTTL(ip)
	p.setEndpoint(ip, source, c.virtual)
	d.limitSegments(ip, p)
	d.overhear(c, ip, p.header, true)
	return Outcome{Verdict: MasqOut, State: c.state, Frame: d.out}
}

// exceedsLink tells whether a reply is larger than the interface to the client takes.
func (d *Director) exceedsLink(c *conn, p *packet) bool {
	mtu := d.linkMTU(c, p)
	return mtu != 0 && len(p.ip) > mtu && !d.isMerged(p)
}

// linkMTU is what an unmerged reply may have; 0: any. To clients on the director, too,
// there is lo.
func (d *Director) linkMTU(c *conn, p *packet) int {
	switch {
	case !p.own:
		return d.LinkMTU
	case c.mac == (MAC{}):
		return 0
	}
	return d.MTU
}

// replyTooBig is about such a reply. It is quoted as it came (ip_forward). The kernel
// answers in its own name, here it is done in the receiver's.
func (d *Director) replyTooBig(c *conn, p *packet) Outcome {
	if !mayNotBreak(p.ip) {
		return Outcome{Verdict: NeedsFragmenting}
	}
	d.complain(p.ip, p.from(), packetTooBig, d.linkMTU(c, p))
	return Outcome{Verdict: TooBig, Frame: d.out, NewHeader: true}
}
