// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"net/netip"
	"testing"
)

func TestScaling(t *testing.T) {
	p := pair{
		name:     "x" + twoCores,
		halves:   [2]*trial{{times: []float64{100, 140}}, {times: []float64{200, 90}}},
		together: []float64{70, 50},
	}
	want := Scaling{Name: "x-two-cores", One: 95, Two: 50, Times: 1.9}
	if got := p.scaling(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestClientOf(t *testing.T) {
	for flow, want := range map[int]string{0: "100.64.0.0", 4095: "100.64.0.0", 4096: "100.64.0.1", 4096 * 257: "100.64.1.1"} {
		if got := clientOf(establishedClients, flow); got != netip.MustParseAddr(want) {
			t.Errorf("flow %d: got %s, want %s", flow, got, want)
		}
	}
}
