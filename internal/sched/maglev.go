// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"math/bits"
	"net/netip"
)

// MaglevSize is the size of mh's table (CONFIG_IP_VS_MH_TAB_INDEX is 12). More
// destinations than that have no place in it.
const MaglevSize = 4093

// maglevBits limits how many turns in a row a weight can give
// (IP_VS_MH_TAB_BITS).
const maglevBits = 6

// The keys of mh's two hashes. bpf/hash.h has the first of them, too.
const (
	maglevOffsetKey = 2654435761
	maglevSkipKey   = 2654446892
)

// MaglevDestination is what mh's table depends on. LastWeight is the weight, or
// what it was before it was set to 0: who is quiesced keeps the places.
type MaglevDestination struct {
	RIP        netip.AddrPort
	LastWeight int32
}

// Maglev returns mh's table (ip_vs_mh.c: ip_vs_mh_populate), after the Maglev
// paper, section 3.4. It is nil if there is no weight at all. The family of the
// service says how addresses are hashed.
//
// The kernel leaves its table as it is when there come more destinations than
// MaglevSize; that is the table of the oldest ones, as here.
func Maglev(dests []MaglevDestination, ipv6 bool) []uint16 {
	newer := max(0, len(dests)-MaglevSize)
	walks := maglevWalks(dests[newer:], ipv6)
	if walks == nil {
		return nil
	}
	const free = 0xffff
	table := make([]uint16, MaglevSize)
	for place := range table {
		table[place] = free
	}
	for filled := 0; ; {
		for i := range walks {
			for range walks[i].turns {
				w := &walks[i]
				for table[w.place] != free {
					w.place = (w.place + w.skip) % MaglevSize
				}
				table[w.place] = uint16(newer + i)
				if filled++; filled == MaglevSize {
					return table
				}
			}
		}
	}
}

// maglevWalk is a destination's way through the table, and how many places it
// takes at a turn.
type maglevWalk struct {
	place, skip uint32
	turns       int32
}

// maglevWalks is nil if nobody has a turn (ip_vs_mh_permutate,
// ip_vs_mh_shift_weight).
func maglevWalks(dests []MaglevDestination, ipv6 bool) []maglevWalk {
	var gcd, largest int32
	for _, d := range dests {
		if d.LastWeight > 0 {
			gcd, largest = commonDivisor(gcd, d.LastWeight), max(largest, d.LastWeight)
		}
	}
	if largest == 0 {
		return nil
	}
	shift := max(0, bits.Len32(uint32(largest/gcd))-maglevBits)
	walks := make([]maglevWalk, len(dests))
	for i, d := range dests {
		value := Fold(d.RIP.Addr(), ipv6) + uint32(d.RIP.Port())
		walks[i].place = maglevHash(value, maglevOffsetKey) % MaglevSize
		walks[i].skip = maglevHash(value, maglevSkipKey)%(MaglevSize-1) + 1
		if d.LastWeight > 0 {
			walks[i].turns = max(1, d.LastWeight/gcd>>shift)
		}
	}
	return walks
}

// maglevHash is the kernel's hsiphash() on 64 bit machines: SipHash-1-3 of the
// value's four bytes, of which the low 32 bits count. Both halves of the key
// are the same.
func maglevHash(value uint32, key uint64) uint32 {
	v0, v1 := 0x736f6d6570736575^key, 0x646f72616e646f6d^key
	v2, v3 := 0x6c7967656e657261^key, 0x7465646279746573^key
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	block := 4<<56 | uint64(value) // the length in the highest byte
	v3 ^= block
	round()
	v0 ^= block
	v2 ^= 0xff
	round()
	round()
	round()
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}
