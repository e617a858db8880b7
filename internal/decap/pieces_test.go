// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const outerID = 0x4711

// inFragments makes fragments of an outer packet, each with so much payload at
// most, a multiple of 8.
func inFragments(packet []byte, size int) (fragments [][]byte) {
	payload := packet[headerOf(packet):]
	for offset := 0; offset < len(payload); offset += size {
		end := min(offset+size, len(payload))
		fragments = append(fragments, fragmentOf(packet, offset, payload[offset:end], end < len(payload)))
	}
	return fragments
}

func headerOf(packet []byte) int {
	if isIPv6(packet) {
		return 40
	}
	return int(packet[0]&15) * 4
}

func fragmentOf(packet []byte, offset int, payload []byte, more bool) []byte {
	m := uint16(0)
	if more {
		m = 1
	}
	if isIPv6(packet) {
		header := append([]byte{packet[6], 0}, be16(uint16(offset)|m, 0, outerID)...)
		return ip(netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:])), unix.IPPROTO_FRAGMENT, append(header, payload...))
	}
	fragment := append(slices.Clone(packet[:20]), payload...)
	copy(fragment[2:], be16(uint16(len(fragment)), outerID, m<<13|uint16(offset/8)))
	setHeaderSum(fragment)
	return fragment
}

// receive puts the fragments of an inner packet together, as a kernel does, with
// the header of the first.
func receive(t *testing.T, fragments [][]byte) []byte {
	t.Helper()
	first := fragments[0]
	var payload []byte
	base, end, more := 0, -1, true
	for i, f := range fragments {
		header, offset := headerOf(f), 0
		if isIPv6(f) {
			offset, more = int(binary.BigEndian.Uint16(f[42:]))&^7, f[43]&1 == 1
			if header += 8; f[6] != unix.IPPROTO_FRAGMENT || !bytes.Equal(f[44:48], first[44:48]) {
				t.Fatalf("fragment %d is none, or of another packet: %x", i, f[:header])
			}
			f = f[:40+int(binary.BigEndian.Uint16(f[4:]))]
		} else {
			field := binary.BigEndian.Uint16(f[6:])
			offset, more = int(field&0x1fff)*8, field&0x2000 != 0
			if sum(f[:header]) != 0xffff || !bytes.Equal(f[4:6], first[4:6]) {
				t.Fatalf("fragment %d has a wrong checksum or is of another packet: %x", i, f[:header])
			}
			f = f[:binary.BigEndian.Uint16(f[2:])]
		}
		if end < 0 {
			base, end = offset, offset
		}
		if offset != end || i < len(fragments)-1 && (!more || (len(f)-header)%8 != 0) {
			t.Fatalf("fragment %d is at %d, its predecessor ended at %d: %x", i, offset, end, f[:header])
		}
		payload = append(payload, f[header:]...)
		end += len(f) - header
	}
	return asOne(first, payload, base, more)
}

// asOne returns a packet with the header of its first fragment.
func asOne(first, payload []byte, offset int, more bool) []byte {
	if isIPv6(first) {
		packet := append(slices.Clone(first[:40]), payload...)
		packet[6] = first[40]
		copy(packet[4:], be16(uint16(len(payload))))
		return packet
	}
	packet := append(slices.Clone(first[:headerOf(first)]), payload...)
	field := binary.BigEndian.Uint16(first[6:])&0x4000 | uint16(offset/8)
	if more {
		field |= 0x2000
	}
	copy(packet[2:], be16(uint16(len(packet))))
	copy(packet[6:], be16(field))
	setOptionsSum(packet)
	return packet
}

// setOptionsSum sets the checksum of an IPv4 header that may have options.
func setOptionsSum(packet []byte) {
	copy(packet[10:], be16(0))
	copy(packet[10:], be16(^sum(packet[:headerOf(packet)])))
}

// handOn has the program make inner fragments of outer ones.
func handOn(t *testing.T, d *Decapsulator, fragments [][]byte) (out [][]byte) {
	t.Helper()
	for i, f := range fragments {
		action, frame, err := d.program.Test(frame(f))
		if err != nil {
			t.Fatal(err)
		}
		if action != xdpPass || len(frame) <= frameHeader {
			t.Fatalf("fragment %d of %d: action %d, %v", i, len(fragments), action, counts(t, d))
		}
		if got := binary.BigEndian.Uint16(frame[12:]); got != etherType(frame[frameHeader:]) {
			t.Errorf("fragment %d: Ethernet type %#x", i, got)
		}
		out = append(out, frame[frameHeader:])
	}
	return out
}

// identified is the packet under the outer header's id: the sender gave it none.
func identified(packet []byte) []byte {
	packet = slices.Clone(packet)
	if !isIPv6(packet) {
		copy(packet[4:], be16(outerID))
		setHeaderSum(packet)
	}
	return packet
}

// text returns so many bytes of which none eight are the same.
func text(size int) string {
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%07x ", b.Len())
	}
	return b.String()[:size]
}

// idOf returns the two bytes of a fragment's id that are always there.
func idOf(fragment []byte) []byte {
	if isIPv6(fragment) {
		return fragment[46:48]
	}
	return fragment[4:6]
}
