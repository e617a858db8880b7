// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// buckets is the size of sh's and dh's tables.
const buckets = 256

// fold makes 32 bits of an address: of IPv6 the words' exclusive or.
func fold(a netip.Addr) uint32 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	var folded uint32
	for i := 0; i < 16; i += 4 {
		folded ^= binary.BigEndian.Uint32(b[i:])
	}
	return folded
}

// foldFor folds a destination's address as one of its service's family, which it
// need not be: of IPv6 the kernel then sees the first word.
func foldFor(s *service, a netip.Addr) uint32 {
	if a.Is6() && !s.IPv6() {
		b := a.As16()
		return binary.BigEndian.Uint32(b[:4])
	}
	return fold(a)
}

// golden hashes to the topmost bits (linux/hash.h: hash_32).
func golden(v uint32, bits int) int {
	return int(v * 0x61c88647 >> (32 - bits))
}

// destinationHash is ip_vs_dh.c.
type destinationHash struct{ table [buckets]*dest }

func (h *destinationHash) assign(s *service) {
	for i := range h.table {
		h.table[i] = nil
		if len(s.dests) > 0 {
			h.table[i] = s.dests[i%len(s.dests)]
		}
	}
}

func (h *destinationHash) start(s *service)                   { h.assign(s) }
func (h *destinationHash) added(s *service)                   { h.assign(s) }
func (h *destinationHash) deleted(s *service, _ *dest, _ int) { h.assign(s) }
func (h *destinationHash) edited(*service)                    {}

func (h *destinationHash) choose(_ *Director, _ *service, r request) *dest {
	return ifEligible(h.table[golden(fold(r.virtual.Addr()), 8)])
}

func ifEligible(d *dest) *dest {
	if d == nil || !d.eligible() {
		return nil
	}
	return d
}

// sourceHash is ip_vs_sh.c.
type sourceHash struct{ table [buckets]*dest }

func (h *sourceHash) assign(s *service) {
	at, taken := 0, int32(0)
	for i := range h.table {
		h.table[i] = nil
		if len(s.dests) == 0 {
			continue
		}
		h.table[i] = s.dests[at]
		if taken++; taken >= s.dests[at].Weight {
			at, taken = (at+1)%len(s.dests), 0
		}
	}
}

func (h *sourceHash) start(s *service)                   { h.assign(s) }
func (h *sourceHash) added(s *service)                   { h.assign(s) }
func (h *sourceHash) deleted(s *service, _ *dest, _ int) { h.assign(s) }
func (h *sourceHash) edited(s *service)                  { h.assign(s) }

func (h *sourceHash) choose(_ *Director, s *service, r request) *dest {
	v := fold(r.client.Addr()) + hashedPort(s, r)
	bucket := func(offset int) *dest { return ifEligible(h.table[(offset+golden(v, 8))%buckets]) }
	first := golden(v, 8)
	found := bucket(0)
	for offset := 0; found == nil && s.Flags&ipvs.SchedFlag1 != 0 && offset < buckets; offset++ {
		found = bucket((offset + first) % buckets)
	}
	return found
}

// hashedPort is the client's port if sh-port or mh-port asks for it.
func hashedPort(s *service, r request) uint32 {
	if s.Flags&ipvs.SchedFlag2 == 0 {
		return 0
	}
	return uint32(r.client.Port())
}

// The kernel's choices for mh: the table's size, the bits that weights are cut
// down to, and the keys of its two hashes.
const (
	maglevSize = 4093
	maglevBits = 6
	maglevKey1 = 2654435761
	maglevKey2 = 2654446892
)

// maglev is ip_vs_mh.c.
type maglev struct{ table [maglevSize]*dest }

func (m *maglev) start(s *service)                   { m.assign(s) }
func (m *maglev) added(s *service)                   { m.assign(s) }
func (m *maglev) deleted(s *service, _ *dest, _ int) { m.assign(s) }
func (m *maglev) edited(s *service)                  { m.assign(s) }

// walker is a destination filling its places of the table.
type walker struct {
	dest        *dest
	place, skip uint32
	turns       int32
}

func (m *maglev) assign(s *service) {
	clear(m.table[:])
	walkers := maglevWalkers(s)
	if len(walkers) == 0 {
		return
	}
	for filled := 0; ; {
		for i := range walkers {
			w := &walkers[i]
			for range w.turns {
				for m.table[w.place] != nil {
					w.place = (w.place + w.skip) % maglevSize
				}
				m.table[w.place] = w.dest
				if filled++; filled == maglevSize {
					return
				}
			}
		}
	}
}

// maglevWalkers are the destinations that have turns, by their last weights.
func maglevWalkers(s *service) []walker {
	gcd, largest := 0, 0
	for _, dest := range s.dests {
		if dest.lastWeight > 0 {
			gcd = divisor(gcd, int(dest.lastWeight))
			largest = max(largest, int(dest.lastWeight))
		}
	}
	if gcd == 0 {
		return nil
	}
	shift := max(0, bits.Len(uint(largest/gcd))-maglevBits)
	var walkers []walker
	for _, dest := range s.dests {
		if dest.lastWeight <= 0 {
			continue
		}
		v := uint32(dest.RIP.Port()) + foldFor(s, dest.RIP.Addr())
		walkers = append(walkers, walker{
			dest:  dest,
			place: siphash(v, maglevKey1) % maglevSize,
			skip:  siphash(v, maglevKey2)%(maglevSize-1) + 1,
			turns: int32(max(1, int(dest.lastWeight)/gcd>>shift)),
		})
	}
	return walkers
}

func (m *maglev) choose(_ *Director, s *service, r request) *dest {
	v := hashedPort(s, r) + fold(r.client.Addr())
	first := siphash(v, maglevKey1) % maglevSize
	found := ifEligible(m.table[first])
	for offset := uint32(0); found == nil && s.Flags&ipvs.SchedFlag1 != 0 && offset < maglevSize; offset++ {
		other := m.table[siphash((offset+first)%maglevSize+v, maglevKey1)%maglevSize]
		if other == nil {
			return nil
		}
		found = ifEligible(other)
	}
	return found
}

// siphash is SipHash-1-3 of four bytes, little-endian, cut to 32 bits.
func siphash(v uint32, key uint64) uint32 {
	v0, v1 := uint64(0x736f6d6570736575)^key, uint64(0x646f72616e646f6d)^key
	v2, v3 := uint64(0x6c7967656e657261)^key, uint64(0x7465646279746573)^key
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
	block := 4<<56 | uint64(v)
	v3 ^= block
	round()
	v0 ^= block
	v2 ^= 0xff
	round()
	round()
	round()
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}
