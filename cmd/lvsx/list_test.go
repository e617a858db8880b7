// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/control"
)

func TestConnectionsCommandRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"--client 192.0.2":       `--client "192.0.2": not an address, a network or an address with a port`,
		"--state ESTABLISHD":     `--state "ESTABLISHD": not one of NONE, ESTABLISHED, `,
		"kill --state TCP":       `--state "TCP": not one of NONE, ESTABLISHED, `,
		"kill":                   "kill connections: choose some by --client, --vip, --server or --state, or say --all",
		"kill --all --state UDP": "kill connections: choose some by --client, --vip, --server or --state, or say --all",
		"-o yaml":                "not one of table, json",
	} {
		if _, err := execute(newConnectionsCommand(), line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", line, err, want)
		}
	}
}

// A table whose real servers are all out of reach leaves room for the rest.
func TestStatusShowsSomeProblems(t *testing.T) {
	var status control.Status
	for i := range 4096 {
		status.Problems = append(status.Problems, fmt.Sprint("problem of ", i))
	}
	var out strings.Builder
	if err := printDirectorStatus(&out, status); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "problem of "); got != shownProblems {
		t.Errorf("%d problems are shown, want %d", got, shownProblems)
	}
	if want := "and 4076 more: lvsx status -o json has all\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no line %q in\n%s", want, out.String())
	}
}
