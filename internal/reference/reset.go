// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Kill ends the connections that a filter chooses (docs/settings.md). Both ends
// of TCP ones are told by what becomes of their packets.
func (d *Director) Kill(filter ipvs.ConnFilter) (killed ipvs.Killed) {
	for _, c := range d.conns.in {
		switch {
		case c.state == Killed || !filter.Match(c.list(d)):
		case c.proto == ipvs.TCP:
			killed.Reset++
			d.kill(c)
		default:
			killed.Forgotten++
			d.end(c)
		}
	}
	return killed
}

func (d *Director) kill(c *conn) {
	if c.state.active() {
		c.dest.active--
	}
	c.state, c.serverTold = Killed, false
	c.expires = d.now + uint64(d.Ticks(stateTimeouts[Killed]))
}

// EndOrphans ends the connections of destinations that were removed since the
// last time: those of services that want it, and with expire_nodest_conn all
// (ip_vs_expire_nodest_conn_flush).
func (d *Director) EndOrphans() {
	if !d.orphans {
		return
	}
	d.orphans = false
	for _, c := range d.conns.in {
		switch {
		case c.dest.available, c.state == Killed:
		case c.dest.service.Settings.Removed == ipvs.Silent:
			if d.Settings.ExpireNodestConn {
				d.end(c)
			}
		case c.proto == ipvs.TCP:
			d.kill(c)
		default:
			d.end(c)
		}
	}
	if d.Settings.ExpireNodestConn {
		d.endOrphanTemplates()
	}
}

// endOrphanTemplates ends those that send nobody anywhere any more.
func (d *Director) endOrphanTemplates() {
	for _, t := range slices.Clone(d.templates) {
		if !t.dest.available && t.controls == 0 {
			d.endTemplate(t)
		}
	}
}

// isOrphan tells whether a connection's own packets may not simply go on.
func (c *conn) isOrphan() bool {
	return c.state == Killed || !c.dest.available
}

// startsAnew tells whether a packet of such a connection is handled as if there
// were none.
func (d *Director) startsAnew(c *conn, p *packet) bool {
	opens := isTCP(p) && tcpEvent(p.flags()) == eventSYN
	switch {
	case c.state == Killed:
		return opens
	case c.dest.available:
		return false
	case c.dest.service.Settings.Removed == ipvs.Silent:
		return d.Settings.ExpireNodestConn
	case isTCP(p):
		return opens
	}
	return c.dest.service.Settings.Removed == ipvs.Move
}

// part is a client's packet of a connection that is killed, or whose destination
// was removed. The first of TCP becomes a RST to the server, the next one is
// answered by one, and so in turn; a RST simply goes on.
func (d *Director) part(c *conn, p *packet) Outcome {
	if c.state != Killed {
		switch {
		case c.dest.service.Settings.Removed == ipvs.Silent:
			return Outcome{Verdict: DestinationGone}
		case !isTCP(p):
			d.end(c)
			return d.answer(p, Reset, portUnreachable, 0)
		}
		d.kill(c)
	}
	if p.flags()&flagRST != 0 {
		return d.forward(c, p)
	}
	if !c.serverTold && ttl(p.ip) > 1 && d.isReachable(c.server.Addr()) {
		c.serverTold = true
		if !p.becomeReset(onward) {
			return Outcome{Verdict: NoRoom}
		}
		return d.forward(c, p)
	}
	c.serverTold = false
	return d.sendBack(p)
}

// partReply is the same of a NAT server's packet.
func (d *Director) partReply(c *conn, p *packet) Outcome {
	if p.flags()&flagRST == 0 {
		c.serverTold = true
		return d.sendBack(p)
	}
	if d.exceedsLink(c, p) {
		return d.replyTooBig(c, p)
	}
	ip := d.copyOf(p, c.mac)
	lowerTTL(ip)
	p.setEndpoint(ip, source, c.virtual)
	return Outcome{Verdict: MasqOut, Frame: d.out}
}

// sendBack answers a segment with a RST.
func (d *Director) sendBack(p *packet) Outcome {
	if !p.becomeReset(back) {
		return Outcome{Verdict: NoRoom}
	}
	d.copyOf(p, p.from())
	return Outcome{Verdict: Reset, Frame: d.out}
}

// isReachable tells whether a packet can be sent to a server.
func (d *Director) isReachable(server netip.Addr) bool {
	way := d.ways[server]
	return !way.Local && !way.NoRoute && way.Neighbour != (MAC{})
}

// The ways that a RST goes.
const (
	onward = false
	back   = true
)

// segmentHeader is TCP's without options (RFC 9293, section 3.1).
const segmentHeader = 20

// becomeReset makes the segment a RST with nothing behind it: onward at its own
// place in the stream, back at the place that its receiver was at (RFC 9293,
// section 3.10.7.1). A checksum that was wrong stays wrong. Of a fragment nobody
// has the whole.
func (p *packet) becomeReset(turned bool) bool {
	if isFragment(p.ip) {
		return false
	}
	was := p.payload()
	segment := make([]byte, segmentHeader)
	copy(segment, was[:12])
	copy(segment[16:18], was[16:18])
	segment[12], segment[13] = segmentHeader/4<<4, flagRST|was[13]&flagACK
	if turned {
		turnSegment(segment, was)
	}
	p.changeChecksum(was, segment)
	p.ip = append(slices.Clone(p.ip[:p.header]), segment...)
	p.setLength()
	if turned {
		p.turnHeader()
	}
	return true
}

func turnSegment(segment, was []byte) {
	copy(segment, was[2:4])
	copy(segment[2:], was[:2])
	if was[13]&flagACK != 0 {
		copy(segment[4:8], was[8:12])
		clear(segment[8:12])
		segment[13] = flagRST
		return
	}
	length := max(0, len(was)-int(was[12]>>4)*4)
	next := binary.BigEndian.Uint32(was[4:]) + uint32(length) + uint32(was[13]&flagFIN)
	clear(segment[4:8])
	binary.BigEndian.PutUint32(segment[8:], next)
	segment[13] = flagRST | flagACK
}

// changeChecksum takes what was out of a segment's checksum and what is into it;
// the pseudo header has its length (RFC 1624).
func (p *packet) changeChecksum(was, is []byte) {
	before := ^uint16(sum(sum(uint32(len(was)), was[:16]), was[18:]))
	s := uint32(^binary.BigEndian.Uint16(was[16:18])) + uint32(before)
	s += sum(sum(uint32(len(is)), is[:16]), is[18:])
	s = s&0xffff + s>>16
	binary.BigEndian.PutUint16(is[16:18], ^uint16(s&0xffff+s>>16))
}

// setLength writes the packet's length into its header.
func (p *packet) setLength() {
	if is6(p.ip) {
		binary.BigEndian.PutUint16(p.ip[4:], uint16(len(p.ip)-40))
		return
	}
	replace(p.ip[2:4], binary.BigEndian.AppendUint16(nil, uint16(len(p.ip))), p.ip[10:12])
}

// turnHeader makes an IP header that of an answer, which begins a way of 64 hops
// and, in IPv4, may not be fragmented (tcp_v4_send_reset).
func (p *packet) turnHeader() {
	from, to := addressAt(source.address(p.ip)), addressAt(destination.address(p.ip))
	source.setAddress(p.ip, to)
	destination.setAddress(p.ip, from)
	if is6(p.ip) {
		p.ip[7] = 64
		return
	}
	replace(p.ip[4:6], []byte{0, 0}, p.ip[10:12])
	replace(p.ip[6:8], []byte{0x40, 0}, p.ip[10:12])
	replace(p.ip[8:10], []byte{64, p.ip[9]}, p.ip[10:12])
}
