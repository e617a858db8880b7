// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv/recorded"
)

// withOneService is a director that has something to lose.
func withOneService() *fakeDirector {
	fake := newFake()
	s := ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("10.0.0.80:80")}, Scheduler: "rr"}
	fake.table.Apply(ipvs.Change{Op: ipvs.AddService, Service: s})
	fake.table.Apply(ipvs.Change{Op: ipvs.AddDestination, Service: s, Destination: ipvs.Destination{RIP: netip.MustParseAddrPort("192.168.1.11:80"), Weight: 1}})
	return fake
}

// mustBeHarmless fails when a command that did not succeed changed the table.
func mustBeHarmless(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	fake := withOneService()
	before := fake.table.Clone()
	var stdout, stderr bytes.Buffer
	code := program(fake, stdin, &stdout, &stderr).Run(argv)
	switch code {
	case 0:
		return
	case 1, 2, 255:
	default:
		t.Errorf("exit status %d", code)
	}
	if stderr.Len() == 0 {
		t.Errorf("exit status %d without a message", code)
	}
	options := cmp.Options{cmpopts.IgnoreUnexported(ipvs.Table{}), byValue, cmpopts.EquateEmpty()}
	if diff := cmp.Diff(before, fake.table, options); diff != "" {
		t.Errorf("%q failed with %q, yet changed the table (-before +after):\n%s", argv, stderr.String(), diff)
	}
}

// FuzzArguments runs command lines, one argument a line of the input.
func FuzzArguments(f *testing.F) {
	for _, r := range recorded.Cases(f, recordings) {
		for _, s := range r.Steps {
			f.Add(strings.Join(s.Argv[1:], "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		mustBeHarmless(t, "", append([]string{"ipvsadm"}, strings.Split(arguments, "\n")...)...)
	})
}

// FuzzRestoreLine runs single lines through -R: refused, they change nothing.
func FuzzRestoreLine(f *testing.F) {
	for _, r := range recorded.Cases(f, recordings) {
		for _, s := range r.Steps {
			for line := range strings.Lines(s.Stdin) {
				f.Add(line)
			}
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		line, _, _ = strings.Cut(line, "\n")
		mustBeHarmless(t, line, "ipvsadm", "-R")
	})
}
