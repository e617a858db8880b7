// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/testenv"
)

// How many stories are made up, and how long they are at most.
const (
	sequences     = 20_000
	sequenceSteps = 200
)

// fuzzedPairs are at work side by side, each with its share: as many on any
// machine, so that a seed makes the same of each everywhere.
const fuzzedPairs = 4

// Any commands, packets and times in any order: the datapath chooses, counts,
// rewrites and lists what the reference director does. LVSX_SEED repeats a run.
func TestSequences(t *testing.T) {
	seed := testenv.Seed(t)
	count := sequences
	if testing.Short() {
		count /= 40
	}
	for worker := range fuzzedPairs {
		t.Run(fmt.Sprintf("datapath %d", worker), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, 4096)
			for n := worker; n < count; n += fuzzedPairs {
				s := newStory(p, rand.New(rand.NewPCG(seed, uint64(n))))
				if wrong := s.tell(); wrong != "" {
					lines, wrong := shrink(p, s.lines, wrong)
					t.Fatalf("LVSX_SEED=%d, sequence %d: the last step's outcome is %s; save what follows in testdata/scripts to keep it:\n%s",
						seed, n, wrong, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

// Stories that once ended otherwise in the datapath and in the model.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t, 4096)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := replayScript(p, strings.Split(strings.TrimSpace(string(text)), "\n")); wrong != "" {
			t.Errorf("%s: %s", file, wrong)
		}
	}
}

// replayScript plays a script from the beginning and says what is wrong at the
// first step that is.
func replayScript(p *pair, lines []string) string {
	p.empty()
	for _, line := range lines {
		if line == "" || line[0] == '#' {
			continue
		}
		if wrong := p.play(line); wrong != "" {
			return line + ": " + wrong
		}
	}
	return p.end()
}

// end says what a whole story left that is not the same.
func (p *pair) end() string {
	if wrong := p.compare(); wrong != "" {
		return wrong
	}
	if wrong := p.toldAll(); wrong != "" {
		return wrong
	}
	return p.conserve()
}

// shrink leaves out what is not needed for a script to go wrong.
func shrink(p *pair, lines []string, wrong string) ([]string, string) {
	for size := len(lines) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(lines); {
			shorter := append(append([]string{}, lines[:at]...), lines[at+size:]...)
			if now := replayScript(p, shorter); now != "" {
				lines, wrong = shorter, now
				continue
			}
			at += size
		}
	}
	return lines, wrong
}

// empty makes both as new, without loading anything: all is removed, and time
// passes until it is forgotten.
func (p *pair) empty() {
	p.t.Helper()
	if p.sum.actions != nil {
		p.conserve() // of a story that went wrong
	}
	for _, line := range append([]string{"ipvsadm -C", "ipvsadm --set 900 120 300"}, defaultSettings...) {
		if wrong := p.play(line); wrong != "" {
			p.t.Fatalf("%s: %s", line, wrong)
		}
	}
	p.forgetMarks()
	p.model.ForgetDrops()
	clear(p.defence.turns[:])
	p.settings.Switches.DropCounter = 0
	for range 4 {
		p.passBoth(p.clock.ticks(20 * time.Minute))
	}
	if err := p.SweepCaches(); err != nil {
		p.t.Fatal(err)
	}
	if left := len(p.trash) + len(p.byKey); left > 0 {
		p.t.Fatalf("%d services and destinations are not forgotten", left)
	}
}
