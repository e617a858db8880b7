// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"testing"

	"github.com/lvsx/lvsx/internal/testenv"
)

func TestVerifierCost(t *testing.T) {
	spec, err := loadDirector()
	if err != nil {
		t.Fatal(err)
	}
	testenv.CheckVerifierCost(t, spec)
}

// Programs may use the largest table that can be asked for, and none larger.
func TestLargestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a GiB")
	}
	testenv.Need(t, testenv.Root, testenv.BPF)
	groups := groupsFor(MaxConnections)
	if groups > maxGroups || groupsFor(MaxConnections+2*groupConns) <= maxGroups {
		t.Errorf("%d connections take %d groups of %d", MaxConnections, groups, maxGroups)
	}
	for groups, want := range map[uint32]bool{maxGroups: true, maxGroups + 1: false} {
		spec, at := loadWithVariables(t)
		at.makeRoom(spec, groups)
		if err := spec.Variables[directorVarGroupCount].Set(groups); err != nil {
			t.Fatal(err)
		}
		collection, err := loadAtOnce(spec, []string{directorProgDirector, directorProgTakeNew, directorProgTakeAny}, nil)
		if (err == nil) != want {
			t.Errorf("%d groups: %v", groups, err)
		}
		if err == nil {
			collection.Close()
		}
	}
}
