// SPDX-License-Identifier: Apache-2.0

// Package reference is a second director, for tests alone: it decides, counts
// and rewrites as the datapath must, but in the plainest Go there is, with maps
// and lists. It was written from what is known of the kernel's IPVS (Linux 6.12,
// net/netfilter/ipvs) and from the RFCs, not from the datapath's source, so that
// a mistake is not made twice.
//
// The time, the dice, and the ways to real servers are given to it. It is not
// safe for use by more than one goroutine.
package reference
