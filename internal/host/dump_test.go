// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestDumpListsAnew(t *testing.T) {
	refused := errors.New("refused")
	tests := []struct {
		name        string
		interrupted int // lists that changed meanwhile
		then        error
		want        error
		asked       int
	}{
		{"at once", 0, nil, nil, 1},
		{"after changes", 2, nil, nil, 3},
		{"not after another error", 1, refused, refused, 2},
		{"not for ever", dumpTries + 1, nil, netlink.ErrDumpInterrupted, dumpTries},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			found, err := dump(func() ([]int, error) {
				asked++
				if asked <= test.interrupted {
					return []int{1}, netlink.ErrDumpInterrupted
				}
				return []int{1, 2}, test.then
			})
			if !errors.Is(err, test.want) || asked != test.asked {
				t.Errorf("asked %d times: %v, want %d times: %v", asked, err, test.asked, test.want)
			}
			if err == nil && !slices.Equal(found, []int{1, 2}) {
				t.Errorf("found %v, want all", found)
			}
		})
	}
}
