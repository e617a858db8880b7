// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary lvsx and ipvsadm, too, when it is started by
// that name: scripts find them in PATH, and a lab starts itself in its nodes.
func TestMain(m *testing.M) {
	testscript.Main(once{m}, map[string]func(){
		"lvsx":            main,
		"ipvsadm":         main,
		"ipvsadm-save":    main,
		"ipvsadm-restore": main,
	})
}

// once runs the tests, but not in a process that was started by one of them
// and got its name wrong: that would never end.
type once struct{ *testing.M }

const inTest = "LVSX_IN_TEST"

func (o once) Run() int {
	if os.Getenv(inTest) != "" {
		fmt.Fprintln(os.Stderr, "started by a test as", os.Args[0], "which is neither lvsx nor ipvsadm")
		return 2
	}
	os.Setenv(inTest, "1")
	return o.M.Run()
}
