// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestMaglevHash(t *testing.T) {
	for _, test := range []struct{ value, offset, skip uint32 }{
		{0x00000000, 0x1d5a77c2, 0xf882433f},
		{0x00000001, 0x16ec66b2, 0x8210aad1},
		{0xc0a8010a, 0xd5e959b6, 0xddef2d2d},
		{0x0a000051, 0x439c0cbe, 0x97b3dc47},
		{0xffffffff, 0x22c5d719, 0xf75a0f5d},
	} {
		offset, skip := maglevHash(test.value, maglevOffsetKey), maglevHash(test.value, maglevSkipKey)
		if offset != test.offset || skip != test.skip {
			t.Errorf("maglevHash(%08x) = %08x, %08x, want %08x, %08x", test.value, offset, skip, test.offset, test.skip)
		}
	}
}

// newestFirst gives destinations 1 to n of a network, in the kernel's order.
func newestFirst(network string, weights ...int32) []MaglevDestination {
	dests := make([]MaglevDestination, len(weights))
	for i, w := range weights {
		rip := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprint(network, i+1)), 80)
		dests[len(weights)-1-i] = MaglevDestination{RIP: rip, LastWeight: w}
	}
	return dests
}

// fnv is FNV-1a over the destinations' numbers, each taken as one unit.
func fnv(numbers []int) string {
	hash := uint64(1469598103934665603)
	for _, n := range numbers {
		hash = (hash ^ uint64(n)) * 1099511628211
	}
	return fmt.Sprintf("%016x", hash)
}

// Whole tables of the kernel's own code, run by itself.
func TestMaglev(t *testing.T) {
	for _, test := range []struct {
		network string
		weights []int32
		slots   []int
		hash    string
		first   string
	}{
		{"10.0.0.", []int32{1, 1, 1}, []int{1364, 1364, 1365}, "3404fd9f91ea74bc", "1 2 2 3 3 1 2 3 3 1 1 2 2 1 1 3 2 2 1 1 3 2 3 3"},
		{"10.0.0.", []int32{1, 2, 4}, []int{584, 1169, 2340}, "1a98027ad7c29ff3", "3 2 3 3 3 3 2 3 3 1 1 2 2 3 1 3 2 3 3 1 3 3 3 3"},
		{"10.0.0.", []int32{100, 200, 300}, []int{682, 1364, 2047}, "123614aaf2415bb6", "3 2 2 3 3 3 2 3 3 1 1 2 2 2 1 3 2 3 3 1 3 3 3 3"},
		{"10.0.0.", []int32{1, 10, 1000}, []int{63, 63, 3967}, "e7287cf9cbdb61e9", strings.TrimSpace(strings.Repeat("3 ", 24))},
		{"10.0.0.", []int32{0, 1, 1}, []int{0, 2046, 2047}, "11573b5aef2c771a", "3 2 2 3 3 3 2 3 3 2 2 2 2 2 3 3 2 2 3 3 3 2 3 3"},
		{"2001:db8::", []int32{1, 1, 1}, nil, "0e5c5e32b377345e", ""},
	} {
		t.Run(fmt.Sprint(test.network, test.weights), func(t *testing.T) {
			dests := newestFirst(test.network, test.weights...)
			table := Maglev(dests, dests[0].RIP.Addr().Is6())
			numbers := make([]int, len(table))
			slots := make([]int, len(dests))
			for place, position := range table {
				numbers[place] = len(dests) - int(position)
				slots[numbers[place]-1]++
			}
			if got := fnv(numbers); got != test.hash {
				t.Errorf("hash of the table is %s, want %s", got, test.hash)
			}
			if test.slots == nil {
				return
			}
			if got := fmt.Sprint(slots); got != fmt.Sprint(test.slots) {
				t.Errorf("places of each: %s, want %v", got, test.slots)
			}
			if got := strings.Trim(fmt.Sprint(numbers[:24]), "[]"); got != test.first {
				t.Errorf("first places: %s\nwant:         %s", got, test.first)
			}
		})
	}
}

func TestMaglevOfNoWeight(t *testing.T) {
	if table := Maglev(newestFirst("10.0.0.", 0, 0), false); table != nil {
		t.Errorf("a table of %d places for nobody", len(table))
	}
}

// With more destinations than places, the oldest have all of them.
func TestMaglevOfTooMany(t *testing.T) {
	dests := make([]MaglevDestination, MaglevSize+10)
	for i := range dests {
		rip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		dests[i] = MaglevDestination{RIP: netip.AddrPortFrom(rip, 80), LastWeight: 1}
	}
	seen := make(map[uint16]bool)
	for _, position := range Maglev(dests, false) {
		if position < 10 {
			t.Fatalf("destination %d, one of the newest, has a place", position)
		}
		seen[position] = true
	}
	if len(seen) != MaglevSize {
		t.Errorf("%d destinations have a place, want %d", len(seen), MaglevSize)
	}
}

func BenchmarkMaglev(b *testing.B) {
	dests := newestFirst("10.0.0.", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	for b.Loop() {
		Maglev(dests, false)
	}
}
