// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// wrapped is a packet in a front's tunnel.
type wrapped struct {
	tunnel []byte // what the outer header is followed by, to the end that it tells
	frame  []byte // that which comes out: what followed the tunnel stays
	inner  []byte // the packet, from readInner on to the end that it tells
	ipv6   bool
	summed bool // there is a checksum over the tunnel
	remote *remote

	header int // of the inner packet, in bytes
	proto  ipvs.Protocol
	piece  piece
	part   bool // it is a fragment
}

// remote is GUE's option that leaves a checksum to the receiver
// (draft-ietf-intarea-gue-extensions, section 4.4): what is summed, and where the
// sum goes.
type remote struct{ start, offset int }

// open finds the packet inside.
func open(p *packet) (w *wrapped, ok bool) {
	w = &wrapped{tunnel: p.payload()}
	var skip int
	switch p.proto {
	case protoGRE:
		skip, ok = w.openGRE()
	case ipvs.UDP:
		skip, ok = w.openGUE()
	default:
		w.ipv6, ok = p.proto == protoIPv6, true
	}
	if !ok || skip > len(w.tunnel) {
		return nil, false
	}
	w.inner = w.tunnel[skip:]
	w.frame = slices.Concat(p.frame[:12], binary.BigEndian.AppendUint16(nil, typeOf(w.ipv6)), p.frame[ethernetHeader+p.header+skip:])
	return w, true
}

// openGRE reads a header without key and sequence number (RFC 2784).
func (w *wrapped) openGRE() (size int, ok bool) {
	b := w.tunnel
	if len(b) < greHeader || b[0]&^greChecksum != 0 || b[1] != 0 {
		return 0, false
	}
	kind := binary.BigEndian.Uint16(b[2:])
	w.summed, w.ipv6 = b[0] != 0, kind == typeIPv6
	return greHeader + 4*int(b[0]>>7), kind == typeIPv4 || kind == typeIPv6
}

// openGUE reads UDP's header and GUE's: variant 0 with no option but remote, or
// variant 1, which has none and is the packet's own beginning.
func (w *wrapped) openGUE() (size int, ok bool) {
	const guePrivate, gueRemote = 1, 1 << 31
	b := w.tunnel
	if len(b) < udpHeader+gueHeader {
		return 0, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpHeader+gueHeader || length > len(b) {
		return 0, false
	}
	b = b[:length]
	w.tunnel, w.summed = b, b[6] != 0 || b[7] != 0
	lead, proto, flags := b[udpHeader], ipvs.Protocol(b[udpHeader+1]), binary.BigEndian.Uint16(b[udpHeader+2:])
	if lead>>6 == 1 {
		w.ipv6 = lead>>4 == 6
		return udpHeader, w.ipv6 || lead>>4 == 4
	}
	w.ipv6 = proto == protoIPv6
	switch {
	case proto != protoIPIP && proto != protoIPv6:
		return 0, false
	case lead == 0 && flags == 0:
		return udpHeader + gueHeader, true
	case lead != 2 || flags != guePrivate || len(b) < udpHeader+gueHeader+8:
		return 0, false
	}
	option := b[udpHeader+gueHeader:]
	w.remote = &remote{int(binary.BigEndian.Uint16(option[4:])), int(binary.BigEndian.Uint16(option[6:]))}
	return udpHeader + gueHeader + 8, binary.BigEndian.Uint32(option) == gueRemote
}

// readInner tells whether a whole IP packet is inside.
func (w *wrapped) readInner() bool {
	var p packet
	b := w.inner
	if len(b) < 20 || is6(b) != w.ipv6 {
		return false
	}
	if w.ipv6 && !p.parseIPv6(b) || !w.ipv6 && !p.parseIPv4(b) {
		return false
	}
	w.inner, w.header, w.proto, w.piece, w.part = p.ip, p.header, p.proto, p.piece, p.fragment
	return true
}

// isOddFragment tells of one that overwrites what a filter saw of TCP's header (RFC
// 1858), or that ends behind the 65535 bytes that a packet can have (RFC 791, section
// 3.1), in IPv6 behind its header (RFC 8200, section 4.5).
func (w *wrapped) isOddFragment() bool {
	end := w.piece.offset + len(w.inner)
	if w.ipv6 && w.part {
		end -= 40 + 8 // the fragment's header is gone, too
	}
	return w.piece.offset == 8 || end > 0xffff
}

// isIntact tells whether the checksum is right that GRE or UDP has over the tunnel.
func (w *wrapped) isIntact(p *packet) bool {
	if p.proto == ipvs.UDP {
		return sum(pseudo(p.ip, ipvs.UDP, len(w.tunnel)), w.tunnel) == 0xffff
	}
	return sum(0, w.tunnel) == 0xffff
}

// isUnfinished tells whether a checksum was left to hardware, the tunnel's or the
// inner packet's: it is the pseudo header's alone.
func (w *wrapped) isUnfinished(p *packet) bool {
	if p.proto == ipvs.UDP && binary.BigEndian.Uint16(w.tunnel[6:]) == pseudoAlone(p.ip, ipvs.UDP, len(w.tunnel)) {
		return true
	}
	at := w.checksumAt()
	return at != 0 && binary.BigEndian.Uint16(w.inner[at:]) == pseudoAlone(w.inner, w.proto, len(w.inner)-w.header)
}

// pseudoAlone is the sum of the pseudo header.
func pseudoAlone(ip []byte, proto ipvs.Protocol, length int) uint16 {
	return uint16(sum(pseudo(ip, proto, length), []byte{0, 0}))
}

// checksumAt is where TCP or UDP have theirs in the inner packet; 0: there is none.
func (w *wrapped) checksumAt() int {
	at := 0
	switch {
	case w.part:
		return 0
	case w.proto == ipvs.TCP:
		at = w.header + 16
	case w.proto == ipvs.UDP:
		at = w.header + 6
	}
	if at+2 > len(w.inner) {
		return 0
	}
	return at
}

// finish completes a checksum that was left to the receiver, in the frame that comes
// out. It has to be the transport's.
func (w *wrapped) finish() bool {
	if w.remote == nil {
		return true
	}
	at := w.checksumAt()
	if at == 0 || w.remote.start != w.header || w.remote.offset != at {
		return false
	}
	l4 := w.frame[ethernetHeader+w.header : ethernetHeader+len(w.inner)]
	check := ^uint16(sum(0, l4))
	binary.BigEndian.PutUint16(w.frame[ethernetHeader+at:], check)
	if w.proto == ipvs.UDP {
		avoidZero(l4)
	}
	return true
}

// trafficClass is IPv4's TOS and IPv6's traffic class.
func trafficClass(ip []byte) byte {
	if is6(ip) {
		return ip[0]<<4 | ip[1]>>4
	}
	return ip[1]
}

// carryCongestion is RFC 6040, section 4.2: what became of the mark on the tunnel's
// way. Of those who cannot be told that there was congestion, packets are dropped.
func (w *wrapped) carryCongestion(outer byte) bool {
	const notECT, ect1, ect0, ce, mask = 0, 1, 2, 3, 3
	ip := w.frame[ethernetHeader : ethernetHeader+len(w.inner)]
	was := trafficClass(ip)
	is := was
	switch outer &= mask; {
	case outer == ce && was&mask == notECT:
		return false
	case outer == ce:
		is |= ce
	case outer == ect1 && was&mask == ect0:
		is = was&^mask | ect1
	}
	if is == was {
		return true
	}
	if w.ipv6 {
		ip[1] = ip[1]&0xcf | is<<4&0x30
	} else {
		replace(ip[0:2], []byte{ip[0], is}, ip[10:12])
	}
	return true
}
