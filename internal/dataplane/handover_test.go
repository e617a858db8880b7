// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// handOver makes the datapath leave the sending to the tc program behind it.
func (b *bench) handOver() {
	b.settings.Interfaces[loopback].Flags |= uint32(directorInterfaceFlagsINTERFACE_HANDS_OVER)
}

// resetHandover makes XDP itself send again.
func (b *bench) resetHandover() {
	b.settings.Interfaces[loopback].Flags &^= uint32(directorInterfaceFlagsINTERFACE_HANDS_OVER)
}

// sendOn does what bpf/director.bpf.c: send_on() has the stack do of a frame
// with a struct handover in front. It returns what is sent.
func (b *bench) sendOn(left []byte) [][]byte {
	const size = 24
	if len(left) < size+34 {
		return [][]byte{nil}
	}
	work := directorHandoverWork(left[15])
	what, f := left[:size], slices.Clone(left[size:])
	if cut := what[16:24]; cut[5] != 0 { // sums as they stand in memory are as they stand in the packet
		at := int(binary.NativeEndian.Uint16(cut[6:]))
		applyChange(f[at:at+2], cut[0:2], cut[2:4])
		applyChange(f[at:at+2], cut[4:6], []byte{0, 20})
	}
	switch work {
	case directorHandoverWorkHANDOVER_MASQ:
		finishMasquerade(what, f)
	case directorHandoverWorkHANDOVER_TUNNEL:
		dest := b.dests.at[binary.NativeEndian.Uint32(what[4:])]
		return [][]byte{finishTunnel(f, dest, what[8:10])}
	case directorHandoverWorkHANDOVER_SPLIT:
		return splitFrame(f, int(binary.NativeEndian.Uint16(what[12:])))
	}
	return [][]byte{f}
}

// splitFrame cuts a packet into fragments that fit the MTU (RFC 791; RFC 8200,
// section 4.5).
func splitFrame(f []byte, mtu int) (pieces [][]byte) {
	ip, header, extra := f[14:], 20, 0
	if ip[0]>>4 == 6 {
		header, extra = 40, 8 // the fragment header
	}
	rest, offset, more := ip[header:], 0, byte(0)
	if header == 20 {
		offset, more = 8*(int(ip[6]&0x1f)<<8|int(ip[7])), ip[6]&0x20
	}
	for len(rest) > 0 {
		size := min(len(rest), (mtu-header-extra)&^7)
		last := size == len(rest)
		head := slices.Clone(f[:14+header])
		h := head[14:]
		if header == 20 {
			binary.BigEndian.PutUint16(h[2:], uint16(20+size))
			binary.BigEndian.PutUint16(h[6:], uint16(offset/8))
			h[6] |= 0x20
			if last {
				h[6] = h[6]&^0x20 | more
			}
			h[10], h[11] = 0, 0
			binary.BigEndian.PutUint16(h[10:], checksum(h))
		} else {
			flags := uint16(offset)
			if !last {
				flags |= 1
			}
			head = append(head, h[6], 0, byte(flags>>8), byte(flags), 1, 2, 3, 4)
			binary.BigEndian.PutUint16(head[18:], uint16(8+size))
			head[20] = 44
		}
		pieces = append(pieces, append(head, rest[:size]...))
		rest, offset = rest[size:], offset+size
	}
	return pieces
}

// finishMasquerade is RFC 1624, equation 3, over what addresses change and the
// port.
func finishMasquerade(what, f []byte) {
	at := int(binary.NativeEndian.Uint16(what[12:]))
	old := ^binary.BigEndian.Uint16(f[at:])
	sum := checksum([]byte{byte(old >> 8), byte(old)}, what[4:8], inverted(what[8:10]), what[10:12])
	if sum == 0 && what[14] == 17 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(f[at:], sum)
}

// finishTunnel puts the tunnel's headers in front of the packet.
func finishTunnel(f []byte, dest directorDest, port []byte) []byte {
	ip, from, to := f[14:], fromAddr(dest.TunnelSource), fromAddr(dest.Rip)
	tos, ttl, proto := ip[1], ip[8], byte(4)
	dontFragment := ip[6] & 0x40
	if ip[0]>>4 == 6 {
		tos, ttl, proto, dontFragment = ip[0]<<4|ip[1]>>4, ip[7], 41, 0
	}
	switch tunnelType(dest.Tunnel) {
	case ipvs.GRE:
		ip = slices.Concat([]byte{0, 0}, f[12:14], ip)
		proto = 47
	case ipvs.GUE:
		length := len(ip) + 12
		to := []byte{byte(dest.TunnelPort), byte(dest.TunnelPort >> 8)} // in network order
		ip = slices.Concat(port, to, []byte{byte(length >> 8), byte(length), 0, 0, 0, proto, 0, 0}, ip)
		proto = 17
	}
	if tos&3 == 3 {
		tos ^= 1
	}
	if to.Is4() {
		outer := with(ipv4(from, to, proto, ip), func(outer []byte) {
			outer[1], outer[6], outer[8] = tos, dontFragment, ttl
		})
		return slices.Concat(f[:12], []byte{8, 0}, outer)
	}
	outer := ipv6(from, to, proto, ip)
	outer[0], outer[1], outer[7] = 0x60|tos>>4, tos<<4, ttl
	return slices.Concat(f[:12], []byte{0x86, 0xdd}, outer)
}

// applyChange lets a checksum follow a change of what it sums (RFC 1624, equation 3).
func applyChange(sum, from, to []byte) {
	binary.BigEndian.PutUint16(sum, checksum(inverted(sum), inverted(from), to))
}

func inverted(b []byte) []byte {
	b = slices.Clone(b)
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// What is handed over leaves as what XDP itself sends.
func TestHandover(t *testing.T) {
	for _, method := range []string{"-m", "-i", "-i --tun-type gre", "-i --tun-type gue --tun-port 6080", "-g"} {
		for kind, ip := range kinds(method) {
			b := established(t, method)
			b.apply("-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:80 "+method,
				"-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 "+method)
			sent := b.send(clientMAC, ip)
			b.handOver()
			b.resolve() // a tunnel's error has taught a smaller MTU
			over := b.send(clientMAC, ip)
			if sent.verdict != over.verdict || sent.mac.String() != over.mac.String() || !slices.Equal(masked(sent.ip), masked(over.ip)) {
				t.Errorf("%s %s: %s to %s\n%x, handed over %s to %s\n%x", method, kind, sent.verdict, sent.mac, sent.ip, over.verdict, over.mac, over.ip)
			}
		}
	}
}

// masked leaves out the ID of a tunnel's header, and the checksum over it.
func masked(ip []byte) []byte {
	ip = slices.Clone(ip)
	if src, _, _, _ := transportOf(ip); ip[0]>>4 == 4 && src == directorAddress {
		clear(ip[4:6])
		clear(ip[10:12])
	}
	return ip
}
