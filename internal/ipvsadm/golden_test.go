// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvsadm"
	"github.com/lvsx/lvsx/internal/testenv/recorded"
)

// cannotPass are the recordings that differ on purpose, with the reason. One that
// passes must be taken off the list.
var cannotPass = map[string]string{}

const recordings = "testdata/golden"

func TestRecordings(t *testing.T) {
	for _, c := range recorded.Cases(t, recordings) {
		t.Run(c.Name, func(t *testing.T) {
			fake := newFake()
			diff := c.Replay(func(s recorded.Step) recorded.Step { return runStep(s, fake) })
			reason, known := cannotPass[c.Name]
			switch {
			case diff != "" && !known:
				t.Error(diff)
			case diff == "" && known:
				t.Errorf("passes, though %q; take it off the list", reason)
			}
		})
	}
}

// runStep does the step and returns it with what was printed now.
func runStep(s recorded.Step, fake *fakeDirector) recorded.Step {
	var stdout, stderr bytes.Buffer
	p := program(fake, s.Stdin, &stdout, &stderr)
	p.Open = fake.open(s.UID)
	s.RC = p.Run(s.Argv)
	s.Stdout, s.Stderr = stdout.String(), stderr.String()
	return s
}

func program(fake *fakeDirector, stdin string, stdout, stderr *bytes.Buffer) *ipvsadm.Program {
	return &ipvsadm.Program{
		Stdin: strings.NewReader(stdin), Stdout: stdout, Stderr: stderr,
		Open:     fake.open(0),
		Hosts:    "testdata/golden/etc/etc-hosts",
		Services: "testdata/golden/etc/etc-services",
	}
}
