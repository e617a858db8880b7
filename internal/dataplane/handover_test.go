// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
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
// with a struct handover in front.
func (b *bench) sendOn(left []byte) []byte {
	const size = 24
	if len(left) < size+34 {
		return nil
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
		return finishTunnel(f, fromAddr(dest.TunnelSource), fromAddr(dest.Rip))
	}
	return f
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

// finishTunnel puts the outer header in front of the packet.
func finishTunnel(f []byte, from, to netip.Addr) []byte {
	ip := f[14:]
	tos, ttl, proto := ip[1], ip[8], byte(4)
	if ip[0]>>4 == 6 {
		tos, ttl, proto = ip[0]<<4|ip[1]>>4, ip[7], 41
	}
	if tos&3 == 3 {
		tos ^= 1
	}
	if to.Is4() {
		outer := with(ipv4(from, to, proto, ip), func(outer []byte) {
			outer[1], outer[6], outer[8] = tos, 0, ttl
			if proto == 4 {
				outer[6] = ip[6] & 0x40
			}
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
	for _, method := range []string{"-m", "-i", "-g"} {
		for kind, ip := range kinds(method) {
			b := established(t, method)
			b.apply("-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:80 "+method)
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
	if len(ip) > 20 && ip[0]>>4 == 4 && (ip[9] == 4 || ip[9] == 41) {
		clear(ip[4:6])
		clear(ip[10:12])
	}
	return ip
}
