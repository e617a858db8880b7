// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// quote is the packet that an ICMP error is about, or what is left of it.
type quote struct {
	ip       []byte
	header   int
	proto    ipvs.Protocol
	src, dst netip.AddrPort
}

const icmpHeader = 8

// relate is an ICMP packet: an error about one of our connections goes to its
// other side (ip_vs_in_icmp, ip_vs_out_icmp).
func (d *Director) relate(p *packet) Outcome {
	if p.fragment {
		return Outcome{Verdict: Fragment}
	}
	// Up to here the frame's end counts, not the packet's.
	message := p.frame[ethernetHeader+p.header:]
	if len(message) < icmpHeader || !isFollowed(message[0], is6(p.ip)) {
		return Outcome{Verdict: Unrelated}
	}
	switch {
	case !d.isFor(p):
		return Outcome{Verdict: OtherHost}
	case p.isMartian():
		return Outcome{Verdict: Martian}
	case len(p.payload()) < icmpHeader:
		return Outcome{Verdict: Unrelated}
	}
	about := p.payload()[icmpHeader:]
	if !is6(p.ip) {
		if o := d.relateTunnel(p, about); o.Verdict != Unrelated {
			return o
		}
	}
	d.learnPath(p)
	q, ok := readQuote(about, is6(p.ip))
	if !ok || q.src.Addr() != p.dst.Addr() { // nobody else was sent an answer
		return Outcome{Verdict: Unrelated}
	}
	c, ambiguous := d.conns.findReply(flow{q.proto, q.src, q.dst})
	switch {
	case ambiguous:
		return Outcome{}
	case c != nil:
		return d.errorOut(c, p, q)
	}
	if c := d.conns.in[flow{q.proto, q.dst, q.src}]; c != nil {
		return d.errorIn(c, p, q)
	}
	return d.scheduleError(p, q)
}

// scheduleError lets an error about nothing known begin a connection
// (ip_vs_try_to_schedule of ip_vs_in_icmp). No error is answered by another.
func (d *Director) scheduleError(p *packet, q quote) Outcome {
	f := flow{q.proto, q.dst, q.src}
	if !d.Settings.ScheduleICMP || !isBalanced(q.proto) {
		return Outcome{Verdict: Unrelated}
	}
	to, v := d.chooseServer(f, p)
	switch {
	case v == NoCallID, v == Defence, v == TableFull:
		return Outcome{Verdict: v}
	case v == NoDestination:
		return Outcome{Verdict: Unanswered}
	case to.dest == nil:
		return Outcome{Verdict: Unrelated}
	case d.isFull() && !to.onePacket:
		return Outcome{Verdict: TableFull}
	}
	c := d.begin(f, to, p.from())
	o := d.errorIn(c, p, q)
	if c.onePacket {
		d.end(c)
	}
	return o
}

// isFollowed tells whether errors of a type go on to a connection's other side.
func isFollowed(kind byte, ipv6 bool) bool {
	if ipv6 {
		return kind < 128
	}
	return kind == 3 || kind == 4 || kind == 11 // unreachable, source quench, time exceeded
}

// readQuote reads addresses and ports, which is all that must be there.
func readQuote(b []byte, ipv6 bool) (q quote, ok bool) {
	if ipv6 {
		q, ok = readQuoteIPv6(b)
	} else {
		q, ok = readQuoteIPv4(b)
	}
	if !ok || len(b) < q.header+4 {
		return q, false
	}
	q.src = netip.AddrPortFrom(addressAt(source.address(b)), binary.BigEndian.Uint16(b[q.header:]))
	q.dst = netip.AddrPortFrom(addressAt(destination.address(b)), binary.BigEndian.Uint16(b[q.header+2:]))
	return q, true
}

// readQuoteIPv4 tells whether it is a packet's beginning.
func readQuoteIPv4(b []byte) (q quote, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return q, false
	}
	q = quote{ip: b, header: int(b[0]&15) * 4, proto: ipvs.Protocol(b[9])}
	return q, q.header >= 20
}

func readQuoteIPv6(b []byte) (q quote, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return q, false
	}
	c, ok := follow(b)
	return quote{ip: b, header: c.end, proto: c.proto}, ok && c.offset == 0
}

// errorOut is an error of a NAT server's side about what it was sent.
func (d *Director) errorOut(c *conn, p *packet, q quote) Outcome {
	if ttl(p.ip) <= 1 { // the kernel's routing sees it before IPVS does
		return Outcome{Verdict: ErrorExpired}
	}
	if !isIntact(p.ip, p.payload()) {
		return Outcome{Verdict: BadChecksum}
	}
	c.countOut(len(p.ip))
	ip := d.copyOf(p, c.mac)
	if !p.own {
		lowerTTL(ip)
	}
	source.setAddress(ip, c.virtual.Addr())
	setQuoted(ip, p.header, q, destination, c.virtual)
	return Outcome{Verdict: ErrorOut, Frame: d.out}
}

// errorIn is an error of the client's side about what it was sent. What passes by
// is the kernel's.
func (d *Director) errorIn(c *conn, p *packet, q quote) Outcome {
	if c.method == bypass {
		return Outcome{Verdict: Unrelated}
	}
	if c.method == ipvs.Masq && !isIntact(p.ip, p.payload()) {
		return Outcome{Verdict: BadChecksum}
	}
	way := d.ways[c.server.Addr()]
	if way.Local && (c.method != ipvs.Masq || !d.SeesOwn) { // what it is about was the kernel's, too
		return Outcome{Verdict: Unrelated}
	}
	c.countIn(len(p.ip))
	if way.Local {
		ip := d.copyUp(p)
		destination.setAddress(ip, c.server.Addr())
		setQuoted(ip, p.header, q, source, c.server)
		return Outcome{Verdict: Local, Frame: d.out}
	}
	switch {
	case ttl(p.ip) <= 1:
		return Outcome{Verdict: ErrorExpired}
	case way.Neighbour == (MAC{}):
		return Outcome{Verdict: NoNeighbour}
	case len(p.ip) > d.mtu(c): // nobody is told of an error's size
		return Outcome{Verdict: NeedsFragmenting}
	}
	ip := d.copyOf(p, way.Neighbour)
	lowerTTL(ip)
	switch c.method {
	case ipvs.Masq:
		destination.setAddress(ip, c.server.Addr())
		setQuoted(ip, p.header, q, source, c.server)
	case ipvs.Tunnel:
		d.wrap(c.dest.tunnel, way.Source, c.server.Addr(), false)
	}
	return Outcome{Verdict: ErrorIn, Frame: d.out, NewHeader: c.method == ipvs.Tunnel}.by(way)
}

// setQuoted writes one end of the packet that an ICMP message quotes
// (ip_vs_nat_icmp). The quoted transport checksum is left as it is.
func setQuoted(ip []byte, header int, q quote, e end, to netip.AddrPort) {
	icmp := ip[header:]
	quoted := icmp[icmpHeader:]
	e.setAddress(quoted, to.Addr())
	binary.BigEndian.PutUint16(quoted[q.header+e.port:], to.Port())
	setICMPChecksum(ip, icmp)
}

// relateTunnel is an error about a packet of a tunnel to a server: the client
// hears of it. The kernel asks whether there is a destination of such a tunnel;
// here it is the connection that must be one. Errors with IP options are left
// to the kernel.
func (d *Director) relateTunnel(p *packet, outer []byte) Outcome {
	t, inner, ok := quotedTunnel(outer)
	if !ok || p.header != 20 || addressAt(outer[12:16]) != p.dst.Addr() {
		return Outcome{Verdict: Unrelated}
	}
	q, ok := readQuote(inner, false)
	if !ok {
		return Outcome{Verdict: Unrelated}
	}
	c := d.conns.in[flow{q.proto, q.src, q.dst}]
	if c == nil || c.method != ipvs.Tunnel || !t.isLike(c.dest.tunnel) || c.server.Addr() != addressAt(outer[16:20]) ||
		d.ways[c.server.Addr()].Source != p.dst.Addr() {
		return Outcome{Verdict: Unrelated}
	}
	if !isIntact(p.ip, p.payload()) {
		return Outcome{Verdict: BadChecksum}
	}
	kind, code := p.payload()[0], p.payload()[1]
	mtu := 0
	if kind == packetTooBig.kind4 && code == packetTooBig.code4 {
		mtu = d.wayMTU(c.dest) - (len(outer) - len(inner)) // the client hears of the new one when it tries again
		d.learnMTU(c, int(binary.BigEndian.Uint16(p.payload()[6:])))
		if inner[6]&0x40 == 0 {
			return Outcome{Verdict: NeedsFragmenting}
		}
	}
	if mtu == 0 && !d.mayComplain() {
		return Outcome{Verdict: Unanswered}
	}
	c.countOut(len(p.ip))
	d.complain(inner, c.mac, complaint{kind4: kind, code4: code}, mtu)
	return Outcome{Verdict: ErrorOut, Frame: d.out, NewHeader: true}
}

// leastMTU is the kernel's min_pmtu: nobody can make it believe in less.
const leastMTU = 552

// leastMTU6 is what IPv6 needs of any link (RFC 8200, section 5).
const leastMTU6 = 1280

// learnMTU is told what the way to a server can carry. The kernel notes it for
// the address, here it is for the destination that it happened to, until ways
// are looked at again.
func (d *Director) learnMTU(c *conn, mtu int) {
	c.dest.learnedMTU = min(d.wayMTU(c.dest), max(mtu, leastMTU))
}
