// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// tunnel is what stands between the outer and the inner IP header: nothing, GRE
// (RFC 2784), or UDP and GUE (draft-ietf-intarea-gue, variant 0).
type tunnel struct {
	kind  ipvs.TunnelType
	port  uint16 // of GUE
	flags ipvs.TunnelFlags
}

const protoGRE ipvs.Protocol = 47

const (
	greHeader   = 4
	greChecksum = 0x80 // in its first byte: another four bytes follow
	gueHeader   = 4
)

// overhead is what a tunnel to a server adds to a packet.
func (t tunnel) overhead(server netip.Addr) int {
	header := 20
	if server.Is6() {
		header = 40
	}
	return header + t.size(false)
}

// size is that of what stands between the headers. Where the stack sends, there
// are no checksums (docs/ipvsadm.md).
func (t tunnel) size(bare bool) int {
	switch {
	case t.kind == ipvs.GUE:
		return udpHeader + gueHeader
	case t.kind == ipvs.GRE && t.flags&ipvs.Checksum != 0 && !bare:
		return greHeader + 4
	case t.kind == ipvs.GRE:
		return greHeader
	}
	return 0
}

// wrap puts the headers of a server's tunnel in front of the packet that leaves
// (RFC 2003, RFC 2473, RFC 4213; ip_vs_tunnel_xmit, ip_vs_tunnel_xmit_v6). GUE's
// source port is 0: it is anyone's guess.
func (d *Director) wrap(t tunnel, from, to netip.Addr, bare bool) {
	inner := d.out[ethernetHeader:]
	body := append(make([]byte, t.size(bare)), inner...)
	proto := t.fill(body, inner)
	header := outerIPv4(inner, proto, len(body))
	if to.Is6() {
		header = outerIPv6(inner, proto, len(body))
	}
	source.setAddress(header, from)
	destination.setAddress(header, to)
	if to.Is4() {
		setChecksum(header, 10)
	}
	if !bare {
		t.sign(header, body)
	}
	binary.BigEndian.PutUint16(d.out[12:], typeOf(to.Is6()))
	d.out = append(d.out[:ethernetHeader], slices.Concat(header, body)...)
}

// fill writes what stands between, and tells the protocol that it is.
func (t tunnel) fill(body, inner []byte) ipvs.Protocol {
	switch t.kind {
	case ipvs.GRE:
		binary.BigEndian.PutUint16(body[2:], typeOf(is6(inner)))
		return protoGRE
	case ipvs.GUE:
		binary.BigEndian.PutUint16(body[2:], t.port)
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
		body[udpHeader+1] = byte(tunnelled(inner))
		return ipvs.UDP
	}
	return tunnelled(inner)
}

// sign computes the tunnel's own checksum, if it is to have one. One that is left
// to the receiver (--tun-remcsum) is only of packets that came without.
func (t tunnel) sign(header, body []byte) {
	switch {
	case t.flags == ipvs.NoChecksum:
	case t.kind == ipvs.GUE:
		setUDPChecksum(header, body)
	case t.kind == ipvs.GRE && t.flags&ipvs.Checksum != 0:
		body[0] = greChecksum
		setChecksum(body, greHeader)
	}
}

func outerIPv4(inner []byte, proto ipvs.Protocol, size int) []byte {
	h := make([]byte, 20)
	h[0], h[1] = 0x45, outerTOS(inner)
	binary.BigEndian.PutUint16(h[2:], uint16(20+size))
	if !is6(inner) {
		h[6] = inner[6] & 0x40 // DF
	}
	h[8], h[9] = ttl(inner), byte(proto)
	return h
}

func outerIPv6(inner []byte, proto ipvs.Protocol, size int) []byte {
	h := make([]byte, 40)
	tos := outerTOS(inner)
	h[0], h[1] = 0x60|tos>>4, tos<<4
	binary.BigEndian.PutUint16(h[4:], uint16(size))
	h[6], h[7] = byte(proto), ttl(inner)
	return h
}

// outerTOS copies the inner one, except that congestion is experienced anew.
func outerTOS(inner []byte) byte {
	tos := inner[1]
	if is6(inner) {
		tos = inner[0]<<4 | inner[1]>>4
	}
	if tos&3 == 3 {
		tos = tos&^3 | 2
	}
	return tos
}

// tunnelled is the protocol number of a packet inside another.
func tunnelled(inner []byte) ipvs.Protocol {
	if is6(inner) {
		return protoIPv6
	}
	return protoIPIP
}

// quotedTunnel reads what an IPv4 tunnel packet has in front of the inner one,
// which is IPv4, too: the kernel knows no others (ip_vs_in_icmp).
func quotedTunnel(outer []byte) (t tunnel, inner []byte, ok bool) {
	if len(outer) < 20 || outer[0]&15 != 5 {
		return t, nil, false
	}
	b := outer[20:]
	switch ipvs.Protocol(outer[9]) {
	case protoIPIP:
		return t, b, true
	case protoGRE:
		t.kind = ipvs.GRE
		if len(b) < greHeader+4 || b[0]&^greChecksum != 0 || b[1] != 0 || binary.BigEndian.Uint16(b[2:]) != typeIPv4 {
			return t, nil, false
		}
		return t, b[greHeader+int(b[0]>>7)*4:], true
	case ipvs.UDP:
		t.kind = ipvs.GUE
		if len(b) < udpHeader+gueHeader || b[8] != 0 || ipvs.Protocol(b[9]) != protoIPIP || b[10] != 0 || b[11] != 0 {
			return t, nil, false
		}
		t.port = binary.BigEndian.Uint16(b[2:])
		return t, b[udpHeader+gueHeader:], true
	}
	return t, nil, false
}

// isLike tells whether a quoted tunnel is of the same kind as a server's.
func (t tunnel) isLike(servers tunnel) bool {
	return t.kind == servers.kind && (t.kind != ipvs.GUE || t.port == servers.port)
}
