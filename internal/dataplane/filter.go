// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"sync/atomic"
)

// filter keeps one bit for each hashed address in the datapath's settings. An
// address is in as often as it was added: the bit goes with the last.
type filter struct {
	words  []uint64
	counts [1 << filterBits]uint32
}

func (f *filter) add(a netip.Addr) {
	bit := filterBit(a)
	f.counts[bit]++
	if f.counts[bit] == 1 {
		atomic.OrUint64(&f.words[bit/64], 1<<(bit%64))
	}
}

func (f *filter) remove(a netip.Addr) {
	bit := filterBit(a)
	f.counts[bit]--
	if f.counts[bit] == 0 {
		atomic.AndUint64(&f.words[bit/64], ^uint64(1<<(bit%64)))
	}
}
