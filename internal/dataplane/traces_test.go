// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// trace is one file of testdata/sched: which server the kernel's IPVS chose for
// each of a row of clients (kernel 6.12, ipvsadm 1.31).
type trace struct {
	Name    string
	Forward string
	Setup   []string
	Sysctls map[string]int32
	Marks   []struct {
		Match string // of nft
		Mark  uint32
	}
	// Deterministic is false for twos.
	Deterministic *bool
	Steps         []traceStep
}

type traceStep struct {
	Op           string
	ID           int
	Src, Dst     netip.Addr
	Sport, Dport uint16
	Server       *string
	Reply        string
	How, Flags   string
	Args, Stdout string
	Seconds      int
	Name         string // of a sysctl
	Value        any
}

func TestSchedulingTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/sched/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			if wrong := replayTrace(t, readTrace(t, file)); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

func readTrace(t *testing.T, file string) trace {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r trace
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// replayTrace makes the trace's steps and says what is wrong at the first that
// goes another way.
func replayTrace(t *testing.T, r trace) string {
	t.Helper()
	b := newBench(t)
	for _, line := range r.Setup {
		if out := b.ipvsadm(line); out != "" {
			return fmt.Sprintf("ipvsadm %s: %s", line, out)
		}
	}
	b.seeOwn()
	b.resolve()
	for name, value := range r.Sysctls {
		if wrong := b.sysctl(name, value); wrong != "" {
			return wrong
		}
	}
	for _, m := range r.Marks {
		b.markBy(asMarkRule(t, m.Match, m.Mark))
	}
	p := player{bench: b, forward: r.Forward, flows: make(map[int]playedFlow)}
	if r.Deterministic != nil && !*r.Deterministic {
		p.dice = rand.New(rand.NewPCG(5, 6))
	}
	for i, step := range r.Steps {
		if wrong := p.play(step); wrong != "" {
			return fmt.Sprintf("step %d, %s %d: %s", i, step.Op, step.ID, wrong)
		}
	}
	return ""
}
