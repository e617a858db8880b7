// SPDX-License-Identifier: Apache-2.0

// Package recorded reads what the real ipvsadm was told and answered, for tests
// that say the same to ours.
package recorded

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Case is a number of command lines, given one after another, beginning with
// an empty table.
type Case struct {
	Name  string `json:"case"`
	Steps []Step
}

// Step is a command line and what became of it.
type Step struct {
	Argv           []string
	Stdin          string
	UID            int
	RC             int
	Stdout, Stderr string
	Compare        string // "unordered-services": the order of the services is the kernel's hash order
}

// Cases reads the recordings in a directory.
func Cases(tb testing.TB, dir string) []Case {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings in %s: %v", dir, err)
	}
	var all []Case
	for _, file := range files {
		all = append(all, read(tb, file)...)
	}
	return all
}

func read(tb testing.TB, file string) (cases []Case) {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var c Case
		if err := json.Unmarshal(scan.Bytes(), &c); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		if c.Name != "" { // the first line is about the file
			cases = append(cases, c)
		}
	}
	if err := scan.Err(); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return cases
}

// Replay runs the steps and returns the first difference. run returns a step
// with what is printed now.
func (c Case) Replay(run func(Step) Step) string {
	for _, s := range c.Steps {
		if diff := cmp.Diff(s.normal(), run(s).normal()); diff != "" {
			return fmt.Sprintf("%q (-want +got):\n%s", s.Argv, diff)
		}
	}
	return ""
}

// normal puts the services of an unordered listing in an order of their own.
func (s Step) normal() Step {
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
