// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// The IP protocols besides those of services.
const (
	protoICMP   ipvs.Protocol = 1
	protoIPIP   ipvs.Protocol = 4
	protoIPv6   ipvs.Protocol = 41
	protoICMPv6 ipvs.Protocol = 58
)

const (
	ethernetHeader = 14
	typeIPv4       = 0x0800
	typeIPv6       = 0x86dd
)

// packet is an IPv4 (RFC 791) or IPv6 packet (RFC 8200) in an Ethernet frame.
type packet struct {
	frame    []byte
	ip       []byte // from its header to the end that it tells
	header   int    // of IP, in bytes, with all extension headers
	fragment bool   // there is more of it elsewhere
	piece    piece
	proto    ipvs.Protocol
	src, dst netip.AddrPort
	own      bool   // the director sent it itself
	behind   bool   // it goes on by the stack, which finishes checksums
	noted    bool   // as a first fragment
	instead  *first // of this one

	unwrapped bool // it came out of a front's tunnel
}

// to is the frame's receiver.
func (p *packet) to() MAC         { return MAC(p.frame[:6]) }
func (p *packet) payload() []byte { return p.ip[p.header:] }

// from is who sent it: lo has no address.
func (p *packet) from() MAC {
	if p.own {
		return MAC{}
	}
	return MAC(p.frame[6:12])
}

// flags are a TCP segment's.
func (p *packet) flags() byte { return p.payload()[13] }

// is6 tells the family of an IP packet.
func is6(ip []byte) bool { return ip[0]>>4 == 6 }

// ttl is the TTL or hop limit.
func ttl(ip []byte) byte {
	if is6(ip) {
		return ip[7]
	}
	return ip[8]
}

// mayNotBreak tells whether routers must not fragment the packet.
func mayNotBreak(ip []byte) bool { return is6(ip) || ip[6]&0x40 != 0 }

// parse reads the headers up to IP's; the verdict is empty if there is more to
// see.
func (p *packet) parse(frame []byte) Verdict {
	*p = packet{frame: frame}
	if len(frame) < ethernetHeader+20 {
		return OtherProtocol
	}
	whole := false
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeIPv4:
		whole = p.parseIPv4(frame[ethernetHeader:])
	case typeIPv6:
		whole = p.parseIPv6(frame[ethernetHeader:])
	default:
		return OtherProtocol
	}
	if !whole {
		return Malformed
	}
	p.src = netip.AddrPortFrom(addressAt(source.address(p.ip)), 0)
	p.dst = netip.AddrPortFrom(addressAt(destination.address(p.ip)), 0)
	return ""
}

// parseIPv4 tells whether the header is possible (RFC 1122, section 3.2.1) and
// all is there.
func (p *packet) parseIPv4(b []byte) bool {
	if b[0]>>4 != 4 {
		return false
	}
	p.header = int(b[0]&15) * 4
	length := int(binary.BigEndian.Uint16(b[2:]))
	if p.header < 20 || length < p.header || length > len(b) {
		return false
	}
	p.ip, p.proto = b[:length], ipvs.Protocol(b[9])
	p.piece = pieceIPv4(p.ip)
	p.fragment = p.piece.isPart()
	return true
}

func (p *packet) parseIPv6(b []byte) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	c, ok := follow(b)
	length := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if !ok || length < c.end || length > len(b) {
		return false
	}
	p.ip, p.header, p.proto, p.fragment, p.piece = b[:length], c.end, c.proto, c.fragment, c.piece
	return true
}

// chain is where an IPv6 packet's extension headers end, and what follows them.
type chain struct {
	end      int
	proto    ipvs.Protocol
	fragment bool
	piece
}

// mostExtensions are followed.
const mostExtensions = 8

// follow walks the extension headers (RFC 8200, section 4).
func follow(b []byte) (c chain, ok bool) {
	c = chain{end: 40, proto: ipvs.Protocol(b[6])}
	for range mostExtensions {
		if !isExtension(c.proto) || c.offset != 0 {
			break
		}
		if c.end+8 > len(b) {
			return c, false
		}
		header := b[c.end:]
		if c.proto == 44 {
			c.fragment, c.piece = true, pieceIPv6(header)
			c.end += 8
		} else {
			c.end += (int(header[1]) + 1) * 8
		}
		c.proto = ipvs.Protocol(header[0])
	}
	return c, c.offset != 0 || !isExtension(c.proto)
}

// isExtension knows the headers of options, routing and fragments.
func isExtension(proto ipvs.Protocol) bool {
	return proto == 0 || proto == 43 || proto == 44 || proto == 60
}

// parseTransport reads the ports of TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC
// 9260), which only a packet's first fragment has.
func (p *packet) parseTransport() Verdict {
	l4 := p.payload()
	if len(l4) < p.transportSize() {
		return Malformed
	}
	p.src = netip.AddrPortFrom(p.src.Addr(), binary.BigEndian.Uint16(l4))
	p.dst = netip.AddrPortFrom(p.dst.Addr(), binary.BigEndian.Uint16(l4[2:]))
	return ""
}

// addressAt reads an address of 4 or 16 bytes.
func addressAt(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// isMartian tells whether no host can send such a packet (RFC 1812, section
// 5.3.7; RFC 4291, section 2). IPv6 addresses with IPv4 ones in them do not
// belong on the wire. A client on the director may have the VIP's own address.
func (p *packet) isMartian() bool {
	if p.own {
		return false
	}
	src, dst := p.src.Addr(), p.dst.Addr()
	if src.Is4() {
		first := src.As4()[0]
		return first == 0 || first == 127 || first >= 224 || src == dst
	}
	return src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || src.Is4In6() || dst.Is4In6() || src == dst
}
