// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// The IP protocols besides those of services.
const (
	protoICMP ipvs.Protocol = 1
	protoIPIP ipvs.Protocol = 4
)

const ethernetHeader = 14

// packet is an IPv4 packet (RFC 791) in an Ethernet frame.
type packet struct {
	frame    []byte
	ip       []byte // from its header to the end that it tells
	header   int    // of IP, in bytes
	proto    ipvs.Protocol
	src, dst netip.AddrPort
}

// to and from are the frame's ends.
func (p *packet) to() MAC           { return MAC(p.frame[:6]) }
func (p *packet) from() MAC         { return MAC(p.frame[6:12]) }
func (p *packet) payload() []byte   { return p.ip[p.header:] }
func (p *packet) ttl() byte         { return p.ip[8] }
func (p *packet) mayNotBreak() bool { return p.ip[6]&0x40 != 0 }

// flags are a TCP segment's.
func (p *packet) flags() byte { return p.payload()[13] }

// parse reads the headers up to IP's; the verdict is empty if there is more to
// see.
func (p *packet) parse(frame []byte) Verdict {
	*p = packet{frame: frame}
	if binary.BigEndian.Uint16(frame[12:]) != 0x0800 || len(frame) < ethernetHeader+20 {
		return OtherProtocol
	}
	var whole bool
	if p.ip, p.header, whole = readIP(frame[ethernetHeader:]); !whole {
		return Malformed
	}
	p.proto = ipvs.Protocol(p.ip[9])
	p.src = netip.AddrPortFrom(address(p.ip[12:]), 0)
	p.dst = netip.AddrPortFrom(address(p.ip[16:]), 0)
	return ""
}

// readIP returns a packet up to the end that it tells and its header's length,
// and whether they are possible (RFC 1122, section 3.2.1) and all is there.
func readIP(b []byte) (ip []byte, header int, whole bool) {
	header, ok := readHeader(b)
	if !ok {
		return nil, 0, false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length < header || length > len(b) {
		return nil, 0, false
	}
	return b[:length], header, true
}

func readHeader(b []byte) (length int, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, false
	}
	length = int(b[0]&15) * 4
	return length, length >= 20 && length <= len(b)
}

// isFragment tells whether there is more of the packet elsewhere.
func isFragment(ip []byte) bool {
	return binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
}

// parseTransport reads the ports of TCP (RFC 9293) and UDP (RFC 768), which only
// a packet's first fragment has.
func (p *packet) parseTransport() Verdict {
	if isFragment(p.ip) {
		return Fragment
	}
	l4, size := p.payload(), 8
	if p.proto == ipvs.TCP {
		size = 20
	}
	if len(l4) < size {
		return Malformed
	}
	p.src = netip.AddrPortFrom(p.src.Addr(), binary.BigEndian.Uint16(l4))
	p.dst = netip.AddrPortFrom(p.dst.Addr(), binary.BigEndian.Uint16(l4[2:]))
	return ""
}

func address(b []byte) netip.Addr {
	return netip.AddrFrom4([4]byte(b))
}

// isMartian tells whether no host can have the address (RFC 1812, section
// 5.3.7).
func isMartian(a netip.Addr) bool {
	first := a.As4()[0]
	return first == 0 || first == 127 || first >= 224
}
