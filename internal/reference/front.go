// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Fronts are the directors in front of this one, which send it packets in tunnels
// (docs/nested.md). Without any, tunnels are the kernel's.
type Fronts struct {
	From []netip.Addr // the outer sources that are theirs
	Own  []netip.Addr // this machine's addresses
	Port uint16       // of GUE
	// The largest TCP segments that their tunnels hold, of IPv4 and IPv6; 0: any.
	Segments [2]uint16
}

// mayBeWrapped tells of what is not balanced as it is whether a front may have
// wrapped it.
func (d *Director) mayBeWrapped(p *packet, o Outcome) bool {
	return len(d.Fronts.From) > 0 && (o.Verdict == NotOurs || o.Verdict == OtherProtocol) &&
		(isTunnel(p.proto) || p.proto == ipvs.UDP)
}

// isTunnel knows IPIP (RFC 2003), IPv6 in IP (RFC 4213, RFC 2473) and GRE (RFC 2784).
func isTunnel(proto ipvs.Protocol) bool {
	return proto == protoIPIP || proto == protoIPv6 || proto == protoGRE
}

// receiveWrapped takes a packet out of a front's tunnel and balances it, once. As
// it is, it came to plain.
func (d *Director) receiveWrapped(p *packet, plain Outcome) Outcome {
	if !d.isFronts(p) {
		return plain
	}
	if v := d.distrust(p); v != "" {
		return Outcome{Verdict: v}
	}
	w, ok := open(p)
	if !ok {
		return Outcome{Verdict: BadTunnel}
	}
	if v := d.judge(p, w); v != "" {
		return Outcome{Verdict: v}
	}
	if !w.finish() || !w.carryCongestion(trafficClass(p.ip)) {
		return Outcome{Verdict: BadTunnel}
	}
	if d.Without[ProgramDirector] {
		return Outcome{Verdict: NoProgram}
	}
	off := len(p.frame) - len(w.frame)
	o := d.confine(w.frame, d.balance(w.frame, p.own, true))
	o.Unwrapped = off
	return o
}

// isFronts tells whether it is a tunnel as fronts make them, to this machine. The
// port of a later fragment is elsewhere; up to it the frame's end counts, not the
// packet's.
func (d *Director) isFronts(p *packet) bool {
	if p.proto == ipvs.UDP {
		l4 := p.frame[ethernetHeader+p.header:]
		if p.piece.offset != 0 || len(l4) < udpHeader || binary.BigEndian.Uint16(l4[2:]) != d.Fronts.Port {
			return false
		}
	}
	return slices.Contains(d.Fronts.Own, p.dst.Addr().Unmap())
}

// distrust says what is wrong with the outer header. Fronts put neither options
// nor extension headers there, send no fragments but those that are all of a packet,
// and write no IPv4 address in IPv6.
func (d *Director) distrust(p *packet) Verdict {
	switch v6 := is6(p.ip); {
	case !d.isFor(p):
		return OtherHost
	case !slices.Contains(d.Fronts.From, p.src.Addr()), p.dst.Addr().Is4In6():
		return Untrusted
	case !v6 && (p.header != 20 || sum(0, p.ip[:20]) != 0xffff):
		return BadTunnel
	case v6 && p.header != 40 && !(p.fragment && p.header == 48):
		return BadTunnel
	case p.piece.isPart():
		return OuterFragment
	}
	return ""
}

// judge says what is wrong with the packet inside: it may be no tunnel again, has
// to be for a VIP, and what this machine sent itself went in a circle.
func (d *Director) judge(p *packet, w *wrapped) Verdict {
	switch {
	case !w.readInner():
		return BadTunnel
	case isTunnel(w.proto):
		return Nested
	case w.isOddFragment():
		return BadTunnel
	}
	src, dst := addressAt(source.address(w.inner)), addressAt(destination.address(w.inner))
	switch {
	case src.Is4In6(), dst.Is4In6():
		return BadTunnel
	case !d.isVIP(dst):
		return NotVIP
	case slices.Contains(d.Fronts.Own, src), w.summed && !d.isCredible(p, w):
		return BadTunnel
	}
	return ""
}

// isCredible tells whether the checksum over the tunnel is right, or none can be:
// the machine merged the packet, or its sender left a checksum to hardware.
func (d *Director) isCredible(p *packet, w *wrapped) bool {
	merged := d.MTU != 0 && p.header+len(w.tunnel) > d.MTU
	return w.isIntact(p) || merged || w.isUnfinished(p)
}

// confine keeps from the kernel what came out of a tunnel, but for packets that a
// service sends there: those of no connection it is to answer where it has the VIP.
func (d *Director) confine(frame []byte, o Outcome) Outcome {
	if o.Verdict == "" || !o.Verdict.passes() {
		return o
	}
	p := &d.packet
	answers := o.Verdict == NoConnection && slices.Contains(d.Fronts.Own, p.dst.Addr()) && d.serves(flow{p.proto, p.src, p.dst}) != nil
	if o.Verdict != Local && o.Verdict != Bypass && !answers {
		return Outcome{Verdict: NotVIP}
	}
	if o.Frame == nil {
		o.Frame = frame
	}
	return o
}

// limitSegments tells a client in the answer to its SYN to leave room for the
// headers of a front's tunnel. Only where the MSS is the first option it is seen.
func (d *Director) limitSegments(ip []byte, p *packet) {
	most := d.Fronts.Segments[0]
	if is6(ip) {
		most = d.Fronts.Segments[1]
	}
	l4 := ip[p.header:]
	if p.proto != ipvs.TCP || l4[13]&2 == 0 || l4[12]>>4 < 6 || len(l4) < 24 || l4[20] != 2 || l4[21] != 4 {
		return
	}
	if most != 0 && len(d.Fronts.From) > 0 && binary.BigEndian.Uint16(l4[22:]) > most {
		replace(l4[22:24], binary.BigEndian.AppendUint16(nil, most), l4[16:18])
	}
}
