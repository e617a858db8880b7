// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/lvsx/lvsx/internal/testenv"
)

// A value below 0 is no option: it is for the director to refuse.
func TestSetNegative(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	err := testenv.Namespace(t, "lvsx-test-set").Do(func() error {
		_, err := execute(newRootCommand(), "set drop_packet -1")
		return err
	})
	const want = "no director is running in this network namespace; start one with: lvsx director"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
