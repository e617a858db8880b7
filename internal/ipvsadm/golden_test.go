// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// recording is one case of testdata/golden: command lines given to the real
// ipvsadm one after another, with what it printed.
type recording struct {
	Case  string
	Steps []step
}

type step struct {
	Argv           []string
	Stdin          string
	UID            int
	RC             int
	Stdout, Stderr string
	Compare        string // "unordered-services": the order of the services is the kernel's hash order
}

// cannotPass are the recordings that differ on purpose, with the reason. One that
// passes must be taken off the list.
var cannotPass = map[string]string{}

func recordings(t testing.TB) []recording {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var all []recording
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			var r recording
			if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if r.Case != "" { // the first line is about the file
				all = append(all, r)
			}
		}
		if err := scan.Err(); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

func TestRecordings(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.Case, func(t *testing.T) {
			diff := replay(r)
			reason, known := cannotPass[r.Case]
			switch {
			case diff != "" && !known:
				t.Error(diff)
			case diff == "" && known:
				t.Errorf("passes, though %q; take it off the list", reason)
			}
		})
	}
}

// replay runs the steps and returns the first difference.
func replay(r recording) string {
	fake := newFake()
	for _, s := range r.Steps {
		if diff := cmp.Diff(s.normal(), s.run(fake).normal()); diff != "" {
			return fmt.Sprintf("%q (-want +got):\n%s", s.Argv, diff)
		}
	}
	return ""
}

// run does the step and returns it with what was printed now.
func (s step) run(fake *fakeDirector) step {
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

// normal puts the services of an unordered listing in an order of their own.
func (s step) normal() step {
	if s.Compare == "unordered-services" {
		s.Stdout = strings.Join(sortedBlocks(s.Stdout), "")
	}
	return s
}

func sortedBlocks(listing string) []string {
	blocks := []string{""}
	for line := range strings.Lines(listing) {
		head, _, _ := strings.Cut(line, " ")
		if slices.Contains([]string{"TCP", "UDP", "SCTP", "FWM", "-A"}, head) {
			blocks = append(blocks, "")
		}
		blocks[len(blocks)-1] += line
	}
	slices.Sort(blocks[1:])
	return blocks
}
