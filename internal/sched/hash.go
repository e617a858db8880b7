// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"encoding/binary"
	"net/netip"
)

// A table gives each of its places a position in the service's list. sh, dh and
// mh look a place up; what differs is how the table is filled and where in it a
// packet's hash points (bpf/hash.h).

// HashSize is the size of dh's and sh's tables (CONFIG_IP_VS_DH_TAB_BITS and
// CONFIG_IP_VS_SH_TAB_BITS are 8).
const HashSize = 256

// SourceHash returns sh's table: the destinations by turns, each as often as
// its weight says; weight 0 takes a place, too (ip_vs_sh.c:
// ip_vs_sh_reassign). Without destinations it is nil.
func SourceHash(weights []int32) []uint16 {
	if len(weights) == 0 {
		return nil
	}
	table := make([]uint16, HashSize)
	position, taken := 0, int32(0)
	for place := range table {
		table[place] = uint16(position)
		taken++
		if taken >= weights[position] {
			position, taken = (position+1)%len(weights), 0
		}
	}
	return table
}

// DestinationHash returns dh's table: count destinations by turns, whatever
// their weights (ip_vs_dh.c: ip_vs_dh_reassign). Without destinations it is nil.
func DestinationHash(count int) []uint16 {
	if count == 0 {
		return nil
	}
	table := make([]uint16, HashSize)
	for place := range table {
		table[place] = uint16(place % count)
	}
	return table
}

// Fold returns an address as 32 bits: IPv4's own, of IPv6 the exclusive or of
// its words. The family is the service's: in an IPv4 service the first word of
// an IPv6 address stands for all, as in the kernel. bpf/hash.h folds alike.
func Fold(a netip.Addr, ipv6 bool) uint32 {
	b := a.AsSlice()
	folded := binary.BigEndian.Uint32(b)
	if ipv6 && a.Is6() {
		for i := 4; i < len(b); i += 4 {
			folded ^= binary.BigEndian.Uint32(b[i:])
		}
	}
	return folded
}
