// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Changes are letters here: lower-case ones are refused, and a dot breaks down.
func TestApplyEach(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		changes, made string
		refused       []int
		err           error
	}{
		"nothing":          {"", "", nil, nil},
		"all":              {"ABC", "ABC", nil, nil},
		"one in between":   {"AbC", "AC", []int{1}, nil},
		"first and last":   {"aBc", "B", []int{0, 2}, nil},
		"none":             {"abc", "", []int{0, 1, 2}, nil},
		"no more after it": {"AbC.d", "AC", []int{1}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			made := ""
			apply := func(changes ...ipvs.Change) (int, error) {
				for i, c := range changes {
					switch op := string(c.Op); {
					case op == ".":
						return i, broken
					case strings.ToLower(op) == op:
						return i, &ipvs.Refusal{Errno: syscall.EEXIST}
					default:
						made += op
					}
				}
				return len(changes), nil
			}
			var changes []ipvs.Change
			var want ipvs.Refused
			for _, letter := range test.changes {
				changes = append(changes, ipvs.Change{Op: ipvs.Op(letter)})
			}
			for _, i := range test.refused {
				if want == nil {
					want = make(ipvs.Refused)
				}
				want[i] = &ipvs.Refusal{Op: changes[i].Op, Errno: syscall.EEXIST}
			}
			refused, err := ipvs.ApplyEach(changes, apply)
			if diff := cmp.Diff(want, refused); diff != "" || made != test.made || !errors.Is(err, test.err) {
				t.Errorf("made %q, want %q; %v, want %v; refused (-want +got):\n%s", made, test.made, err, test.err, diff)
			}
		})
	}
}
