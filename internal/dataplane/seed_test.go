// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

// A seed makes the same packets, of which the datapath makes the same connections,
// each at its place in the table.
func TestSeedRepeats(t *testing.T) {
	var entered [2][]ipvs.Conn
	for i := range entered {
		p := newPair(t, 4096)
		p.empty()
		if wrong := p.furnish(); wrong != "" {
			t.Fatal(wrong)
		}
		f := newFuzzer(rand.New(rand.NewPCG(testenv.Seed(t), 0)))
		for range 5000 {
			if _, wrong := p.both(f.frame()); wrong != "" {
				t.Fatal(wrong)
			}
		}
		for group := range p.groups.at {
			entered[i] = append(entered[i], p.listGroups([]uint32{uint32(group)})...)
		}
	}
	if len(entered[0]) < 100 {
		t.Errorf("only %d connections", len(entered[0]))
	}
	if !slices.Equal(entered[0], entered[1]) {
		t.Errorf("two runs differ: first\n%v, second\n%v", entered[0], entered[1])
	}
}
