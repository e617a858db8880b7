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
	if isFragment(p.ip) {
		return Outcome{Verdict: Fragment}
	}
	// Up to here the frame's end counts, not the packet's.
	message := p.frame[ethernetHeader+p.header:]
	if len(message) < icmpHeader || !isFollowed(message[0]) {
		return Outcome{Verdict: Unrelated}
	}
	switch {
	case p.to() != d.MAC:
		return Outcome{Verdict: OtherHost}
	case isMartian(p.src.Addr()), p.src.Addr() == p.dst.Addr():
		return Outcome{Verdict: Martian}
	case len(p.payload()) < icmpHeader:
		return Outcome{Verdict: Unrelated}
	}
	about := p.payload()[icmpHeader:]
	if isTunnel(about) {
		return d.relateTunnel(p, about)
	}
	q, ok := readQuote(about)
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
	return Outcome{Verdict: Unrelated}
}

// isFollowed tells whether errors of a type go on to a connection's other side.
func isFollowed(kind byte) bool {
	return kind == unreachable || kind == sourceQuench || kind == timeExceeded
}

// readQuote reads addresses and ports, which is all that must be there.
func readQuote(b []byte) (q quote, ok bool) {
	header, ok := readHeader(b)
	if !ok || len(b) < header+4 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return q, false
	}
	q = quote{ip: b, header: header, proto: ipvs.Protocol(b[9])}
	q.src = netip.AddrPortFrom(address(b[12:]), binary.BigEndian.Uint16(b[header:]))
	q.dst = netip.AddrPortFrom(address(b[16:]), binary.BigEndian.Uint16(b[header+2:]))
	return q, q.proto == ipvs.TCP || q.proto == ipvs.UDP
}

// errorOut is an error of a NAT server's side about what it was sent.
func (d *Director) errorOut(c *conn, p *packet, q quote) Outcome {
	if p.ttl() <= 1 { // the kernel's routing sees it before IPVS does
		return Outcome{Verdict: ErrorExpired}
	}
	if sum(0, p.payload()) != 0xffff {
		return Outcome{Verdict: BadChecksum}
	}
	c.countOut(len(p.ip))
	ip := d.copyOf(p, c.mac)
	lowerTTL(ip)
	replace(ip[12:16], c.virtual.Addr().AsSlice(), ip[10:12])
	setQuoted(ip[p.header:], q, destination, c.virtual)
	return Outcome{Verdict: ErrorOut, Frame: d.out}
}

// errorIn is an error of the client's side about what it was sent.
func (d *Director) errorIn(c *conn, p *packet, q quote) Outcome {
	if c.method == ipvs.Masq && sum(0, p.payload()) != 0xffff {
		return Outcome{Verdict: BadChecksum}
	}
	way := d.ways[c.server.Addr()]
	if way.Local { // what it is about was the kernel's, too
		return Outcome{Verdict: Unrelated}
	}
	c.countIn(len(p.ip))
	switch {
	case p.ttl() <= 1:
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
		replace(ip[16:20], c.server.Addr().AsSlice(), ip[10:12])
		setQuoted(ip[p.header:], q, source, c.server)
	case ipvs.Tunnel:
		d.wrap(way.Source, c.server.Addr())
	}
	return Outcome{Verdict: ErrorIn, Frame: d.out, NewHeader: c.method == ipvs.Tunnel}
}

// setQuoted writes one end of the packet that an ICMP message quotes
// (ip_vs_nat_icmp). The quoted transport checksum is left as it is.
func setQuoted(icmp []byte, q quote, e end, to netip.AddrPort) {
	quoted := icmp[icmpHeader:]
	replace(quoted[e.address:e.address+4], to.Addr().AsSlice(), quoted[10:12])
	binary.BigEndian.PutUint16(quoted[q.header+e.port:], to.Port())
	setChecksum(icmp, 2)
}

// isTunnel tells whether a quoted packet is a tunnel's.
func isTunnel(b []byte) bool {
	return len(b) >= 20 && ipvs.Protocol(b[9]) == protoIPIP
}

// relateTunnel is an error about a packet of a tunnel to a server: the client
// hears of it. The kernel asks whether there is a destination of such a tunnel;
// here it is the connection that must be one. Errors with IP options are left
// to the kernel.
func (d *Director) relateTunnel(p *packet, outer []byte) Outcome {
	if p.header != 20 || outer[0]&15 != 5 || address(outer[12:]) != p.dst.Addr() {
		return Outcome{Verdict: Unrelated}
	}
	inner := outer[20:]
	q, ok := readQuote(inner)
	if !ok {
		return Outcome{Verdict: Unrelated}
	}
	c := d.conns.in[flow{q.proto, q.src, q.dst}]
	if c == nil || c.method != ipvs.Tunnel || c.server.Addr() != address(outer[16:]) ||
		d.ways[c.server.Addr()].Source != p.dst.Addr() {
		return Outcome{Verdict: Unrelated}
	}
	if sum(0, p.payload()) != 0xffff {
		return Outcome{Verdict: BadChecksum}
	}
	kind, code := p.payload()[0], p.payload()[1]
	mtu := 0
	if kind == unreachable && code == fragmentationNeeded {
		mtu = d.mtu(c) // the client hears of the new one when it tries again
		d.learnMTU(c, int(binary.BigEndian.Uint16(p.payload()[6:])))
		if inner[6]&0x40 == 0 {
			return Outcome{Verdict: NeedsFragmenting}
		}
	}
	c.countOut(len(p.ip))
	d.icmp(inner, c.mac, kind, code, mtu)
	return Outcome{Verdict: ErrorOut, Frame: d.out, NewHeader: true}
}

// leastMTU is the kernel's min_pmtu: nobody can make it believe in less.
const leastMTU = 552

// learnMTU is told what the way to a server can carry. The kernel notes it for
// the address, here it is for the destination that it happened to, until ways
// are looked at again.
func (d *Director) learnMTU(c *conn, mtu int) {
	c.dest.learnedMTU = min(d.wayMTU(c.dest), max(mtu, leastMTU))
}
