// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// ipvsadm compares by subtracting 32-bit numbers, which wraps: 192.168.0.1 comes
// before 9.255.0.1. Over a wide range that is no order at all, so the result
// depends on how the sort goes about it: mergeSort does as glibc's qsort.

// wrapped is a-b as C's int has it.
func wrapped(a, b uint32) int {
	return int(int32(a - b))
}

// addressWords are the words of an address as the kernel's union holds them: an
// IPv4 address in the first.
func addressWords(a netip.Addr) (words [4]uint32) {
	if a.Is4() {
		words[0] = binary.BigEndian.Uint32(a.AsSlice())
		return words
	}
	b := a.As16()
	for i := range words {
		words[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return words
}

func compareAddresses(a, b netip.Addr) int {
	x, y := addressWords(a), addressWords(b)
	for i := range x {
		if d := wrapped(x[i], y[i]); d != 0 {
			return d
		}
	}
	return 0
}

func compareEndpoints(a, b netip.AddrPort) int {
	return cmp.Or(compareAddresses(a.Addr(), b.Addr()), int(a.Port())-int(b.Port()))
}

func compareServices(a, b ipvs.ServiceStatus) int {
	if d := wrapped(a.Mark, b.Mark); d != 0 {
		return d
	}
	if a.IPv6() != b.IPv6() {
		if b.IPv6() {
			return -1
		}
		return 1
	}
	return cmp.Or(int(a.Protocol)-int(b.Protocol), compareEndpoints(a.VIP, b.VIP))
}

func compareDestinations(a, b ipvs.DestinationStatus) int {
	return compareEndpoints(a.RIP, b.RIP)
}

// mergeSort sorts in place, from the top down, the left half the smaller.
func mergeSort[T any](s []T, compare func(a, b T) int) {
	if len(s) < 2 {
		return
	}
	left := append([]T(nil), s[:len(s)/2]...)
	right := append([]T(nil), s[len(s)/2:]...)
	mergeSort(left, compare)
	mergeSort(right, compare)
	for i := range s {
		if len(right) == 0 || len(left) > 0 && compare(left[0], right[0]) <= 0 {
			s[i], left = left[0], left[1:]
		} else {
			s[i], right = right[0], right[1:]
		}
	}
}
