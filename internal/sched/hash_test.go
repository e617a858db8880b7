// SPDX-License-Identifier: Apache-2.0

package sched_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/sched"
)

// clients and the choices below are of the kernel's own code, run by itself.
var clients = []string{
	"192.168.1.10", "192.168.1.11", "10.20.30.40", "203.0.113.7",
	"198.51.100.250", "1.2.3.4", "255.255.255.254", "172.16.5.9",
}

// place is where bpf/hash.h looks a value up in dh's and sh's tables.
func place(value uint32) uint32 {
	return value * 0x61c88647 >> 24
}

// owners names the destinations that the clients' places have. The list is
// newest first, so that position 0 is destination count.
func owners(table []uint16, count int, place func(client int) uint32) string {
	var names []string
	for i := range clients {
		names = append(names, string(rune('0'+count-int(table[place(i)]))))
	}
	return strings.Join(names, " ")
}

func TestHashTables(t *testing.T) {
	for _, test := range []struct {
		name  string
		table []uint16
		ports bool
		want  string
	}{
		{"sh 1/1/1", sched.SourceHash([]int32{1, 1, 1}), false, "1 3 2 2 2 2 3 2"},
		{"sh 1/1/1 with ports", sched.SourceHash([]int32{1, 1, 1}), true, "3 3 3 2 1 2 2 3"},
		{"sh 1/2/4", sched.SourceHash([]int32{4, 2, 1}), false, "3 1 3 2 2 3 2 3"},
		{"sh 1/2/0: quiesced servers keep a place", sched.SourceHash([]int32{0, 2, 1}), false, "3 2 2 3 3 3 3 1"},
		{"dh", sched.DestinationHash(3), false, "1 3 2 2 2 2 3 2"},
	} {
		got := owners(test.table, 3, func(client int) uint32 {
			value := sched.Fold(netip.MustParseAddr(clients[client]), false)
			if test.ports {
				value += 40000 + uint32(client)
			}
			return place(value)
		})
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestHashTablesOfNobody(t *testing.T) {
	if sched.SourceHash(nil) != nil || sched.DestinationHash(0) != nil || sched.Maglev(nil, false) != nil {
		t.Error("a table without destinations is not nil")
	}
}

func TestSourceHashOfManyDestinations(t *testing.T) {
	weights := make([]int32, 300)
	for i := range weights {
		weights[i] = 1
	}
	table := sched.SourceHash(weights)
	for place, position := range table {
		if int(position) != place {
			t.Fatalf("place %d has destination %d", place, position)
		}
	}
}

func TestFold(t *testing.T) {
	for _, test := range []struct {
		addr string
		ipv6 bool
		want uint32
	}{
		{"10.0.0.1", false, 0x0a000001},
		{"10.0.0.1", true, 0x0a000001}, // a tunnel's end in an IPv6 service
		{"2001:db8::1", true, 0x20010db8 ^ 1},
		{"2001:db8:1:2:3:4:5:6", true, 0x20010db8 ^ 0x00010002 ^ 0x00030004 ^ 0x00050006},
		{"2001:db8::1", false, 0x20010db8},
	} {
		if got := sched.Fold(netip.MustParseAddr(test.addr), test.ipv6); got != test.want {
			t.Errorf("Fold(%s, %t) = %08x, want %08x", test.addr, test.ipv6, got, test.want)
		}
	}
}

// Every destination's share of sh's table is its weight's, to one turn.
func TestSourceHashShares(t *testing.T) {
	shares := make([]int, 3)
	for _, position := range sched.SourceHash([]int32{1, 2, 5}) {
		shares[position]++
	}
	if diff := cmp.Diff([]int{32, 64, 160}, shares); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}
