// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// connsNotBuilt are the recordings of connections that need what is not built
// yet, whole or from some step on. One that comes right fails the test.
var connsNotBuilt = map[string]string{
	"stats-big": "packets that the recording counts but does not hold",
}

// connsSlow are recordings that took longer than usual between a packet and the
// list that shows its timer.
var connsSlow = map[string]time.Duration{"counters-nat": 4 * time.Second, "set-timeouts": 4 * time.Second}

// timerTolerance is what the slow machine of the recordings is forgiven.
const timerTolerance = 2 * time.Second

func TestConnectionRecordings(t *testing.T) {
	for _, r := range recordings(t, "conns") {
		t.Run(r.Name, func(t *testing.T) {
			wrong := replayConns(t, r)
			need, expected := connsNotBuilt[r.Name]
			switch {
			case expected && wrong == "":
				t.Errorf("right, though said to need %s", need)
			case !expected && wrong != "":
				t.Error(wrong)
			}
		})
	}
}

// replayConns replays packets, commands and sleeps, and says what is wrong at
// the first step that differs.
func replayConns(t *testing.T, r recording) string {
	t.Helper()
	b := newBench(t)
	for _, line := range r.Setup {
		if out := b.ipvsadm(line); out != "" {
			return fmt.Sprintf("ipvsadm %s: %s", line, out)
		}
	}
	b.seeOwn()
	b.resolve()
	for i, e := range r.Exchanges {
		if wrong := b.replayStep(t, e, max(connsSlow[r.Name], timerTolerance)); wrong != "" {
			return fmt.Sprintf("step %d, %s %s: %s", i, e.Label, e.Args, wrong)
		}
	}
	return ""
}

func (b *bench) replayStep(t *testing.T, e exchange, tolerance time.Duration) string {
	t.Helper()
	switch {
	case e.In != nil, e.Label == "sysctl":
		return b.replay(t, e)
	case e.Label == "sysctl default":
		return b.diffDefault(e)
	case e.Label == "ipvsadm":
		out := b.ipvsadm(e.Args)
		b.resolve()
		if e.Racy {
			return ""
		}
		return diffListing(e.Args, e.Stdout, out, tolerance)
	case e.Label == "sleep":
		b.pass(time.Duration(e.Seconds) * time.Second)
		b.ageAll()
		for range e.Seconds / int(EstimateInterval/time.Second) {
			b.Estimate()
		}
		return ""
	case e.Label == "note":
		b.markAsNoted(t, e.Text)
		return ""
	case e.Label == "proc": // the kernel's own files
		return ""
	}
	return "no such step is built"
}

// diffDefault compares a setting's default. Two are the recording machine's own.
func (b *bench) diffDefault(e exchange) string {
	want := fmt.Sprint(e.Value)
	s, err := ipvs.FindSetting(e.Name)
	if err != nil {
		return err.Error()
	}
	if s.Name == "est_cpulist" || s.Name == "sync_qlen_max" {
		want = "-"
	}
	return cmp.Diff(strings.ReplaceAll(want, "\t", " "), s.Default)
}

// diffConns compares two lists of connections, whose order is a hash's.
func diffConns(want, got string, tolerance time.Duration) string {
	wantConns, wantTimers := parseConns(want)
	gotConns, gotTimers := parseConns(got)
	if diff := cmp.Diff(wantConns, gotConns); diff != "" {
		return "connections (-want +got):\n" + diff
	}
	for _, c := range wantConns {
		if off := gotTimers[c] - wantTimers[c]; off > tolerance || off < -tolerance {
			return fmt.Sprintf("%s: expires in %s, want %s", c, gotTimers[c], wantTimers[c])
		}
	}
	return ""
}

// parseConns takes the timers out of the lines and sorts them.
func parseConns(list string) (conns []string, timers map[string]time.Duration) {
	timers = make(map[string]time.Duration)
	for _, line := range strings.Split(list, "\n") {
		var minutes, seconds int
		if len(line) < 10 {
			continue
		}
		if _, err := fmt.Sscanf(line[4:], "%d:%d", &minutes, &seconds); err == nil {
			rest := line[:4] + line[10:]
			timers[rest] = time.Duration(minutes*60+seconds) * time.Second
			line = rest
		}
		conns = append(conns, line)
	}
	slices.Sort(conns)
	return conns, timers
}
