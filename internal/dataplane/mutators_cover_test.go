// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The fuzzer makes every kind of packet that is wrong, of enough kinds that are right.
func TestFuzzedPackets(t *testing.T) {
	if len(classes) < 40 {
		t.Errorf("only %d classes of packets", len(classes))
	}
	names := make(map[string]bool)
	for _, c := range append(append([]class{}, classes...), frontClasses...) {
		if names[c.name] {
			t.Errorf("two classes are named %q", c.name)
		}
		names[c.name] = true
	}
	seen := make(map[string]int)
	f := newFuzzer(rand.New(rand.NewPCG(1, 0)))
	for range 500_000 {
		for _, what := range featuresOf(f.frame()) {
			seen[what]++
		}
	}
	for _, want := range []struct {
		what     string
		from, to int
	}{
		{what: "frame of %d bytes", from: 14, to: 214},
		{what: "IPv4 header of %d words", to: 15},
		{what: "IPv6 with %d extension headers", to: 9},
		{what: "version %d", to: 15},
		{what: "%d tags", to: 2},
		{what: "%d bytes quoted in IPv4", to: 28},
		{what: "%d bytes quoted in IPv6", to: 28},
		{what: "flags %08b", to: 255},
		{what: "IP protocol %d", to: 255},
		{what: "TTL %d", to: 2},
		{what: "length wrong by %d", from: -100, to: 100},
		{what: "%d tunnels", to: 3},
		{what: "first octet %d of a source", from: 0, to: 0},
		{what: "first octet %d of a source", from: 127, to: 127},
		{what: "first octet %d of a source", from: 224, to: 224},
		{what: "first octet %d of a source", from: 255, to: 255},
		{what: "source port %d", from: 0, to: 0},
		{what: "source port %d", from: 65535, to: 65535},
		{what: "destination port %d", from: 0, to: 0},
		{what: "destination port %d", from: 65535, to: 65535},
		{what: "fragment %d", from: 1, to: 3}, // first, later, last
	} {
		for n := want.from; n <= want.to; n++ {
			if what := fmt.Sprintf(want.what, n); seen[what] == 0 {
				t.Errorf("no packet: %s", what)
			}
		}
	}
}

// featuresOf says what a frame has.
func featuresOf(b []byte) (all []string) {
	has := func(format string, n int) { all = append(all, fmt.Sprintf(format, n)) }
	has("frame of %d bytes", len(b))
	tags := 0
	for len(b) >= 18 && (b[12] == 0x81 && b[13] == 0 || b[12] == 0x88 && b[13] == 0xa8) {
		b = append(b[:12:12], b[16:]...)
		tags++
	}
	has("%d tags", tags)
	isIPv4 := len(b) >= 42 && b[12] == 8 && b[13] == 0
	if !isIPv4 && (len(b) < 54 || !hasIPv6(b)) {
		return all
	}
	ip := b[14:]
	has("version %d", int(ip[0]>>4))
	if hasIPv6(b) {
		return append(all, featuresOfIPv6(ip)...)
	}
	has("IPv4 header of %d words", int(ip[0]&15))
	has("length wrong by %d", int(binary.BigEndian.Uint16(ip[2:]))-len(ip))
	has("TTL %d", int(ip[8]))
	has("IP protocol %d", int(ip[9]))
	has("first octet %d of a source", int(ip[12]))
	switch later, more := isLaterFragment(ip), ip[6]&0x20 != 0; {
	case more && !later:
		has("fragment %d", 1)
	case later && more:
		has("fragment %d", 2)
	case later:
		has("fragment %d", 3)
	}
	if ip[0] != 0x45 {
		return all
	}
	has("source port %d", int(binary.BigEndian.Uint16(ip[20:])))
	has("destination port %d", int(binary.BigEndian.Uint16(ip[22:])))
	if ip[9] == 6 && len(ip) > 33 {
		has("flags %08b", int(ip[33]))
	}
	if ip[9] == 1 {
		has("%d bytes quoted in IPv4", len(ip)-28)
	}
	has("%d tunnels", tunnelsOf(ip))
	return all
}

func featuresOfIPv6(ip []byte) (all []string) {
	kind, at, extensions := ip[6], 40, 0
	for at+8 <= len(ip) && (kind == 0 || kind == 43 || kind == 44 || kind == 60) {
		size := 8
		if kind != 44 {
			size += 8 * int(ip[at+1])
		}
		kind, at, extensions = ip[at], at+size, extensions+1
	}
	all = append(all, fmt.Sprintf("IPv6 with %d extension headers", extensions))
	if ip[6] == 58 {
		all = append(all, fmt.Sprintf("%d bytes quoted in IPv6", len(ip)-48))
	}
	return all
}

// tunnelsOf is how many IPIP headers stand in front of one another.
func tunnelsOf(ip []byte) (n int) {
	for len(ip) >= 40 && ip[0] == 0x45 && ip[9] == 4 {
		ip = ip[20:]
		n++
	}
	return n
}
