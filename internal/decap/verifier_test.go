// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"testing"

	"github.com/lvsx/lvsx/internal/testenv"
)

func TestVerifierCost(t *testing.T) {
	spec, err := loadDecap()
	if err != nil {
		t.Fatal(err)
	}
	testenv.CheckVerifierCost(t, spec)
}
