// SPDX-License-Identifier: Apache-2.0

package testenv

import "testing"

// Without LVSX_SEED all runs are the same, with a number all that have it, and
// with "random" none.
func TestReadSeed(t *testing.T) {
	for text, want := range map[string]uint64{"": defaultSeed, "7": 7, "18446744073709551615": 1<<64 - 1} {
		if got, err := readSeed(text); err != nil || got != want {
			t.Errorf("LVSX_SEED=%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "0x7", "dice", "18446744073709551616"} {
		if got, err := readSeed(text); err == nil {
			t.Errorf("LVSX_SEED=%s: %d", text, got)
		}
	}
	one, _ := readSeed("random")
	other, _ := readSeed("random")
	if one == other {
		t.Errorf("LVSX_SEED=random gives %d twice", one)
	}
}
