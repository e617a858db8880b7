// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// learnPath learns what the path of a GRE or GUE tunnel can carry from an error
// that goes no further: the kernel's routing does by what handles the outer
// protocol (gre_err in IPv4, __udp4_lib_err, __udp6_lib_err_encap).
func (d *Director) learnPath(p *packet) {
	// The frame's end counts, not the packet's.
	message := p.frame[ethernetHeader+p.header:]
	if !tellsMTU(message, is6(p.ip)) || !isIntact(p.ip, p.payload()) {
		return
	}
	from, to, proto, b, ok := readOuter(message[icmpHeader:], is6(p.ip))
	if !ok || from != p.dst.Addr() {
		return
	}
	t, inner, v6, ok := readShim(b, proto, is6(p.ip))
	if !ok {
		return
	}
	f, ok := readInner(inner, v6)
	if !ok {
		return
	}
	c := d.conns.in[f]
	if c == nil || c.method != ipvs.Tunnel || c.server.Addr() != to || d.ways[to].Source != from || !t.isLike(c.dest.tunnel) {
		return
	}
	mtu := int(binary.BigEndian.Uint16(message[6:]))
	if is6(p.ip) {
		mtu = max(mtu, leastMTU6)
	}
	d.learnMTU(c, mtu)
}

func tellsMTU(message []byte, ipv6 bool) bool {
	if ipv6 {
		return message[0] == packetTooBig.kind6 && message[4] == 0 && message[5] == 0
	}
	return message[0] == packetTooBig.kind4 && message[1] == packetTooBig.code4
}

// readOuter reads an IP header without options.
func readOuter(b []byte, ipv6 bool) (from, to netip.Addr, proto ipvs.Protocol, rest []byte, ok bool) {
	if ipv6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return
		}
		return addressAt(source.address(b)), addressAt(destination.address(b)), ipvs.Protocol(b[6]), b[40:], true
	}
	if len(b) < 20 || b[0] != 0x45 {
		return
	}
	return addressAt(source.address(b)), addressAt(destination.address(b)), ipvs.Protocol(b[9]), b[20:], true
}

// readShim reads what follows an outer header, and tells the inner family.
func readShim(b []byte, proto ipvs.Protocol, ipv6 bool) (t tunnel, inner []byte, inner6, ok bool) {
	switch {
	case proto == ipvs.UDP && len(b) >= udpHeader+gueHeader && b[8] == 0 && b[10] == 0 && b[11] == 0:
		t, inner = tunnel{kind: ipvs.GUE, port: binary.BigEndian.Uint16(b[2:])}, b[udpHeader+gueHeader:]
		inner6 = ipvs.Protocol(b[9]) == protoIPv6
		return t, inner, inner6, inner6 || ipvs.Protocol(b[9]) == protoIPIP
	case proto == protoGRE && !ipv6 && len(b) >= greHeader && b[0]&^greChecksum == 0 && b[1] == 0:
		size := greHeader + int(b[0]>>7)*4
		if len(b) < size {
			return t, nil, false, false
		}
		kind := binary.BigEndian.Uint16(b[2:])
		return tunnel{kind: ipvs.GRE}, b[size:], kind == typeIPv6, kind == typeIPv6 || kind == typeIPv4
	}
	return t, nil, false, false
}

// readInner reads addresses and ports of a packet without extension headers.
func readInner(b []byte, ipv6 bool) (f flow, ok bool) {
	least, version, header := 20, byte(4), 40
	if ipv6 {
		least, version = 40, 6
	}
	if len(b) < least || b[0]>>4 != version {
		return f, false
	}
	f.proto = ipvs.Protocol(b[6])
	if !ipv6 {
		f.proto, header = ipvs.Protocol(b[9]), int(b[0]&15)*4
	}
	if len(b) < header+4 {
		return f, false
	}
	f.client = netip.AddrPortFrom(addressAt(source.address(b)), binary.BigEndian.Uint16(b[header:]))
	f.virtual = netip.AddrPortFrom(addressAt(destination.address(b)), binary.BigEndian.Uint16(b[header+2:]))
	return f, true
}
