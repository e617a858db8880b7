// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// filter keeps one use of addresses for the datapath (bpf/maps.h): a bit in the byte
// that an address hashes to. An address is in as often as it was added: the bit
// goes with the last.
type filter struct {
	uses   []uint8 // by place, of all filters: enum filter_use
	use    uint8
	counts [1 << filterBits]uint32
}

func newFilter(uses []uint8, use directorFilterUse) filter {
	return filter{uses: uses, use: uint8(use)}
}

func (f *filter) add(a netip.Addr) { f.addPlace(filterPlace(a)) }

func (f *filter) addPlace(place uint32) {
	f.counts[place]++
	if f.counts[place] == 1 {
		word, bit := f.wordOf(place)
		atomic.OrUint32(word, bit)
	}
}

func (f *filter) remove(a netip.Addr) { f.removePlace(filterPlace(a)) }

func (f *filter) removePlace(place uint32) {
	f.counts[place]--
	if f.counts[place] == 0 {
		word, bit := f.wordOf(place)
		atomic.AndUint32(word, ^bit)
	}
}

// wordOf returns the word of the use's bit in a byte, since bytes cannot be
// changed atomically, and that bit.
func (f *filter) wordOf(place uint32) (word *uint32, bit uint32) {
	word = (*uint32)(unsafe.Pointer(&f.uses[place&^3]))
	var bytes [4]byte
	bytes[place&3] = f.use
	return word, binary.NativeEndian.Uint32(bytes[:])
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
func (f *filter) addNetwork(n netip.Prefix) { eachPlace(n, f.addPlace) }

func (f *filter) removeNetwork(n netip.Prefix) { eachPlace(n, f.removePlace) }

// eachPlace calls do for the places of a network's addresses. Of a network with as
// many addresses as there are places that is all of them.
func eachPlace(n netip.Prefix, do func(place uint32)) {
	if n.Addr().BitLen()-n.Bits() >= filterBits {
		for place := range uint32(1 << filterBits) {
			do(place)
		}
		return
	}
	for a := n.Addr(); n.Contains(a); a = a.Next() {
		do(filterPlace(a))
	}
}
