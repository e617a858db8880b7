// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"sync/atomic"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// filter keeps one bit for each hashed address in the datapath's settings. An
// address is in as often as it was added: the bit goes with the last.
type filter struct {
	words  []uint64
	counts [1 << filterBits]uint32
}

func (f *filter) add(a netip.Addr) { f.addBit(filterBit(a)) }

func (f *filter) addBit(bit uint32) {
	f.counts[bit]++
	if f.counts[bit] == 1 {
		atomic.OrUint64(&f.words[bit/64], 1<<(bit%64))
	}
}

func (f *filter) remove(a netip.Addr) { f.removeBit(filterBit(a)) }

func (f *filter) removeBit(bit uint32) {
	f.counts[bit]--
	if f.counts[bit] == 0 {
		atomic.AndUint64(&f.words[bit/64], ^uint64(1<<(bit%64)))
	}
}

// addService adds a service's VIP. One of a firewall mark has none.
func (f *filter) addService(k ipvs.Key) {
	if k.Mark == 0 {
		f.add(k.VIP.Addr())
	}
}

func (f *filter) removeService(k ipvs.Key) {
	if k.Mark == 0 {
		f.remove(k.VIP.Addr())
	}
}

// addNetwork adds all addresses of a network.
func (f *filter) addNetwork(n netip.Prefix) { eachBit(n, f.addBit) }

func (f *filter) removeNetwork(n netip.Prefix) { eachBit(n, f.removeBit) }

// eachBit calls do for the bits of a network's addresses. Of a network with as
// many addresses as there are bits that is all of them.
func eachBit(n netip.Prefix, do func(bit uint32)) {
	if n.Addr().BitLen()-n.Bits() >= filterBits {
		for bit := range uint32(1 << filterBits) {
			do(bit)
		}
		return
	}
	for a := n.Addr(); n.Contains(a); a = a.Next() {
		do(filterBit(a))
	}
}
