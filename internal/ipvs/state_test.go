// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func TestParseState(t *testing.T) {
	for text, want := range map[string]string{"": "", "ESTABLISHED": "ESTABLISHED", "established": "ESTABLISHED", "c-wait": "C-WAIT", "assured": "ASSURED"} {
		if got, err := ipvs.ParseState(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"ESTABLISHD", " UDP", "TCP"} {
		if _, err := ipvs.ParseState(text); err == nil || !strings.Contains(err.Error(), "not one of NONE, ESTABLISHED, ") {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}
