// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// fragmentKey names a packet that comes in fragments (RFC 791, section 3.2; RFC
// 8200, section 4.5).
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
	proto    ipvs.Protocol
}

// first is what is remembered of a first fragment.
type first struct {
	src, dst netip.AddrPort
	end      int
	expires  uint64 // at which tick
	once     *dest  // of a packet that left no connection
}

// firstLife is how long later fragments may follow.
const firstLife = 5 * time.Second

// piece is where in its packet a fragment is.
type piece struct {
	offset int // in bytes; not 0: a later fragment, in which no headers follow
	more   bool
	id     uint32
}

func pieceIPv4(ip []byte) piece {
	field := binary.BigEndian.Uint16(ip[6:])
	return piece{int(field&0x1fff) * 8, field&0x2000 != 0, uint32(binary.BigEndian.Uint16(ip[4:]))}
}

// pieceIPv6 reads a fragment header.
func pieceIPv6(header []byte) piece {
	field := binary.BigEndian.Uint16(header[2:])
	return piece{int(field &^ 7), field&1 != 0, binary.BigEndian.Uint32(header[4:])}
}

// isPart tells whether there is more of the packet elsewhere. Of an IPv6 packet
// with a fragment header there need not be (RFC 6946).
func (p piece) isPart() bool { return p.offset != 0 || p.more }

func isFragment(ip []byte) bool {
	if !is6(ip) {
		return pieceIPv4(ip).isPart()
	}
	c, _ := follow(ip)
	return c.isPart()
}

func (p *packet) fragmentKey() fragmentKey {
	return fragmentKey{p.src.Addr(), p.dst.Addr(), p.piece.id, p.proto}
}

// transportSize is what the header takes at least.
func (p *packet) transportSize() int {
	switch p.proto {
	case ipvs.TCP:
		return 20
	case ipvs.SCTP:
		return sctpHeader
	}
	return 8
}

// isBadFragment goes by RFC 1858, and by what a packet can be.
func (p *packet) isBadFragment() bool {
	size, offset := len(p.payload()), p.piece.offset
	switch {
	case size == 0, p.piece.more && size%8 != 0, offset+size > 0xffff:
		return true
	case offset == 0:
		return size < p.transportSize()
	}
	return offset < p.transportSize()
}

// receiveFragment remembers a first fragment, which then goes on like a packet,
// and sends the others where it went. Even a packet in one piece takes that way if
// it has a fragment header.
func (d *Director) receiveFragment(p *packet) (o Outcome, done bool) {
	goesOn := Outcome{Verdict: NoProgram}
	if d.Without[ProgramFragment] {
		return goesOn, true
	}
	if !p.piece.isPart() {
		return goesOn, d.Without[ProgramDirector]
	}
	if p.isBadFragment() {
		return Outcome{Verdict: BadFragment}, true
	}
	key := p.fragmentKey()
	if p.piece.offset == 0 {
		p.parseTransport()
		if keeps, ok := d.keepsPorts(p); p.proto == ipvs.SCTP && !ok {
			return Outcome{}, true
		} else if p.proto == ipvs.SCTP && !keeps {
			return Outcome{Verdict: Fragment}, true
		}
		p.noted, p.instead = true, d.firsts[key]
		d.firsts[key] = &first{src: p.src, dst: p.dst, end: len(p.payload()), expires: d.now + uint64(d.Ticks(firstLife))}
		return goesOn, d.Without[ProgramDirector]
	}
	f := d.firsts[key]
	switch {
	case f == nil || f.expires <= d.now:
		return Outcome{Verdict: d.keep(p)}, true
	case p.piece.offset < f.end:
		delete(d.firsts, key)
		return Outcome{Verdict: BadFragment}, true
	}
	p.src, p.dst = f.src, f.dst
	return d.receiveLater(p, f), true
}

// unnote forgets that a first fragment came.
func (d *Director) unnote(p *packet) {
	if !p.noted {
		return
	}
	delete(d.firsts, p.fragmentKey())
	if p.instead != nil {
		d.firsts[p.fragmentKey()] = p.instead
	}
}

func (d *Director) receiveLater(p *packet, f *first) Outcome {
	if f.once != nil {
		return d.forwardLater(p, f.once, f.once.Forwarding, f.once.RIP.Addr())
	}
	c, ambiguous := d.conns.findReply(flow{p.proto, p.dst, p.src})
	switch {
	case ambiguous:
		return Outcome{}
	case c != nil:
		return d.replyLater(c, p)
	}
	if c = d.conns.in[flow{p.proto, p.src, p.dst}]; c == nil {
		return Outcome{Verdict: Fragment}
	}
	return d.forwardLater(p, c.dest, c.method, c.server.Addr())
}

// forwardLater sends a later fragment to a server. What is in the way is not
// answered (RFC 1122, section 3.2.2). It is no packet that counts, but its bytes
// are.
func (d *Director) forwardLater(p *packet, to *dest, method ipvs.Forwarding, server netip.Addr) Outcome {
	switch {
	case method == bypass:
		return Outcome{Verdict: Bypass}
	case !to.available:
		return Outcome{Verdict: DestinationGone}
	}
	for _, s := range []*ipvs.Stats{&to.stats, &to.service.stats} {
		s.InBytes += uint64(len(p.payload()))
	}
	way, mtu := d.wayOf(p, server), d.wayMTU(to)
	if method == ipvs.Tunnel {
		mtu -= to.tunnel.overhead(server)
	}
	switch {
	case way.Local:
		return d.deliver(method, server, p, func(ip []byte) { destination.setAddress(ip, server) })
	case way.NoRoute, ttl(p.ip) <= 1:
		return Outcome{Verdict: Fragment}
	case way.Neighbour == (MAC{}):
		return Outcome{Verdict: NoNeighbour}
	case d.isMerged(p) && !isSendable(p, way):
		return Outcome{Verdict: Merged}
	case len(p.ip) > mtu && !d.isMerged(p):
		return Outcome{Verdict: NeedsFragmenting}
	}
	ip := d.copyOf(p, way.Neighbour)
	lowerTTL(ip)
	switch method {
	case ipvs.Masq:
		destination.setAddress(ip, server)
		return Outcome{Verdict: MasqIn, Frame: d.out}.by(way)
	case ipvs.Tunnel:
		d.wrap(to.tunnel, way.Source, server, p.own)
		return Outcome{Verdict: Tunnel, Frame: d.out, NewHeader: true}.by(way)
	}
	return Outcome{Verdict: Route, Frame: d.out}.by(way)
}

func (d *Director) replyLater(c *conn, p *packet) Outcome {
	if ttl(p.ip) <= 1 {
		return Outcome{Verdict: ReplyExpired}
	}
	c.countRestOut(len(p.payload()))
	if d.isMerged(p) && !isSendable(p, Way{}) {
		return Outcome{Verdict: Merged}
	}
	if d.exceedsLink(c, p) { // RFC 1122, section 3.2.2: in silence
		return Outcome{Verdict: NeedsFragmenting}
	}
	ip := d.copyOf(p, c.mac)
	lowerTTL(ip)
	source.setAddress(ip, c.virtual.Addr())
	return Outcome{Verdict: MasqOut, Frame: d.out}
}
