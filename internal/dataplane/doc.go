// SPDX-License-Identifier: Apache-2.0

// Package dataplane is the only one that knows the datapath: it loads bpf/'s
// programs, turns changes into map writes in an order that never forwards
// wrongly, and reads back what the maps hold. Its maps and links are pinned, so
// that forwarding outlives the process and the next one finds all of it.
//
// It knows no routes and no interface names: next hops and interfaces are given
// to it by number.
package dataplane
