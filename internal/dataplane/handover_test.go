// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"
)

// handOver makes the datapath leave the sending to the tc program behind it.
func (b *bench) handOver() {
	b.settings.Interfaces[loopback].Flags |= uint32(directorInterfaceFlagsINTERFACE_HANDS_OVER)
}

// sendOn does what bpf/director.bpf.c: send_on() has the stack do of a frame
// with a struct handover in front.
func sendOn(left []byte) []byte {
	const size = 20
	if len(left) < size+34 {
		return nil
	}
	work := directorHandoverWork(binary.NativeEndian.Uint32(left[4:]))
	what, f := left[:size], slices.Clone(left[size:])
	ip := f[14:]
	switch work {
	case directorHandoverWorkHANDOVER_MASQ:
		at := int(ip[0]&15)*4 + map[byte]int{6: 16, 17: 6}[ip[9]]
		// RFC 1624, equation 3, over address and port
		old := ^binary.BigEndian.Uint16(ip[at:])
		sum := ^checksum([]byte{byte(old >> 8), byte(old)}, inverted(what[8:12]), what[12:16], inverted(what[16:18]), what[18:20])
		if sum = ^sum; sum == 0 && ip[9] == 17 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(ip[at:], sum)
	case directorHandoverWorkHANDOVER_TUNNEL:
		outer := ipv4(address(what[8:]), address(what[12:]), 4, nil)
		outer = with(outer, func(outer []byte) {
			binary.BigEndian.PutUint16(outer[2:], 20+binary.BigEndian.Uint16(ip[2:]))
			outer[6], outer[8] = ip[6]&0x40, ip[8]
		})
		f = slices.Concat(f[:14], outer, ip)
	}
	return f
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
	if len(ip) > 20 && ip[9] == 4 {
		clear(ip[4:6])
		clear(ip[10:12])
	}
	return ip
}
