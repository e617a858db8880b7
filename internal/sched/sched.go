// SPDX-License-Identifier: Apache-2.0

// Package sched holds what the director must work out for the datapath's
// schedulers when a service's destinations change: the numbers that a list
// carries, the tables of those that hash, and where a scheduler goes on. The
// choices themselves are made per connection, in bpf/sched.h. It knows weights,
// addresses and positions, nothing else.
package sched

import "slices"

// Names are the schedulers that ipvsadm knows, in the order of its help.
var Names = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}

// Known tells whether the kernel has a scheduler of that name; "none" is one
// that never chooses.
func Known(name string) bool {
	return name == "none" || slices.Contains(Names, name)
}

// Cursor is where rr or wrr stands in a service's list. Position 0 is the head
// of the list, before the first destination; i+1 is destination i. Weight is
// wrr's current one.
type Cursor struct {
	Position uint32
	Weight   int32
}

// List holds what wrr needs of a list's weights.
type List struct {
	GCD       int32 // of the positive weights; 1 if there are none
	MaxWeight int32 // the largest weight less (GCD - 1); below 1: nothing to choose
}

// Weigh sums up the weights of a list (ip_vs_wrr.c: ip_vs_wrr_gcd_weight,
// ip_vs_wrr_max_weight).
func Weigh(weights []int32) List {
	var gcd, largest int32
	for _, w := range weights {
		if w > 0 {
			gcd = commonDivisor(gcd, w)
			largest = max(largest, w)
		}
	}
	gcd = max(gcd, 1)
	return List{GCD: gcd, MaxWeight: largest - (gcd - 1)}
}

func commonDivisor(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
