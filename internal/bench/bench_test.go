// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsx/lvsx/internal/testenv"
)

// TestRun measures for an instant: that packets reach the verdicts their cases
// claim is checked by Run itself, and how long they take is not for a test.
func TestRun(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	report, err := Run(t.Context(), Config{Flows: 1 << 13, Rounds: 2, Packets: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Concat(report.Floors, report.Cases) {
		if !(f.NS > 0 && f.Ratio > 0 && f.Median >= f.NS) || math.IsInf(f.Ratio, 0) {
			t.Errorf("%+v: not a figure", f)
		}
	}
	want := strings.Fields(`
		mac-swap pass array-lookup array-lookup-random-8k array-wait-random-8k hash-lookup
		dr-established dr-random-8k ipip-established ipip-random-8k
		nat-out-established nat-out-random-8k nat-in-established nat-in-random-8k
		dr-v6-established dr-v6-random-8k ipip-v6-established ipip-v6-random-8k
		nat-out-v6-established nat-out-v6-random-8k nat-in-v6-established nat-in-v6-random-8k dr-redirect-established
		dr-new dr-new-half-full dr-new-full ipip-new ipip-new-half-full ipip-new-full
		nat-in-new nat-in-new-half-full nat-in-new-full dr-wrr-new dr-wrr-new-half-full dr-wrr-new-full
		dr-lc-64-new dr-lc-64-new-half-full dr-lc-64-new-full
		dr-v6-new dr-v6-new-half-full dr-v6-new-full ipip-v6-new ipip-v6-new-half-full ipip-v6-new-full
		nat-in-v6-new nat-in-v6-new-half-full nat-in-v6-new-full
		not-ours dr-1000-services-established dr-1000-services-new not-ours-1000-services`)
	if diff := cmp.Diff(want, namesOf(report)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if tasks := []string{"age", "list", "edit-weight", "edit-weight-mh", rings, restore}; len(report.Tasks) != len(tasks) {
		t.Errorf("tasks %+v, want %q", report.Tasks, tasks)
	}
	checkCores(t, report.Cores)
	checkMemory(t, report.Memory)
	if report.MACSwapNS != report.Floors[0].NS || report.Floors[0].Ratio != 1 {
		t.Errorf("MAC swap %v ns, among the floors %+v", report.MACSwapNS, report.Floors[0])
	}
	checkJSON(t, report)
}

// checkCores knows nothing of a machine with one CPU but that there is nothing to see.
func checkCores(t *testing.T, cores []Scaling) {
	t.Helper()
	want := strings.Fields("mac-swap-two-cores dr-established-two-cores dr-random-8k-two-cores dr-new-two-cores")
	if cpus, err := allowedCPUs(); err != nil || len(cpus) == 1 {
		want = nil
	}
	var names []string
	for _, c := range cores {
		names = append(names, c.Name)
		if !(c.One > 0 && c.Two > 0 && c.Times > 0) {
			t.Errorf("%+v: not a figure", c)
		}
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// checkMemory goes by what a connection takes: an entry, and its share of a group's line.
func checkMemory(t *testing.T, memory []Footprint) {
	t.Helper()
	if len(memory) != 1 || memory[0].Name != "memory-8k" {
		t.Fatalf("got %+v, want memory-8k", memory)
	}
	m := memory[0]
	if m.Connections != 1<<13 || m.Live > m.Connections || m.Live < m.Connections*98/100 {
		t.Errorf("%d of %d connections found room", m.Live, m.Connections)
	}
	if m.Each < 64+64/15 || m.Each > 80 || m.Whole < uint64(m.Each*float64(m.Connections)) {
		t.Errorf("%.1f bytes each, %d in all", m.Each, m.Whole)
	}
}

func namesOf(r Report) (names []string) {
	for _, f := range slices.Concat(r.Floors, r.Cases) {
		names = append(names, f.Name)
	}
	return names
}

func TestRunCases(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	config := Config{Flows: 1 << 13, Rounds: 1, Packets: 100, Large: 3 << 12, Schedulers: true}
	for cases, want := range map[string]string{
		"^nat-out-v6-e|pass":    "mac-swap pass nat-out-v6-established",
		"not-ours$":             "mac-swap not-ours",
		"nat-.*t-random-12k":    "mac-swap nat-out-random-12k",
		"dr-(lc.*|mh)-new$":     "mac-swap dr-lc-64-new dr-lc-256-new dr-mh-new",
		"dr-new$|dr-random-8k$": "mac-swap dr-random-8k dr-new",
		"memory-12k|two-cores":  "mac-swap",
		"^mac-swap$|^no-such":   "",
	} {
		config.Cases = regexp.MustCompile(cases)
		report, err := Run(t.Context(), config)
		if (err != nil) != (want == "") {
			t.Errorf("%s: %v", cases, err)
		}
		if diff := cmp.Diff(strings.Fields(want), namesOf(report), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", cases, diff)
		}
	}
}

func checkJSON(t *testing.T, report Report) {
	t.Helper()
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte(`{"macSwapNs":`)) {
		t.Errorf("begins with %.40s", text)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, back); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRunRefusesFlows(t *testing.T) {
	for _, flows := range []int{0, 1 << 12, 3 << 12} {
		if _, err := Run(t.Context(), Config{Flows: flows, Rounds: 1, Packets: 1}); err == nil {
			t.Errorf("%d flows are measured", flows)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name    string
		after   map[string]uint64
		refused bool
	}{
		{"all as claimed", map[string]uint64{"route": 1100}, false},
		{"a stray", map[string]uint64{"route": 1095, "no-connection": 5}, false},
		{"too many strays", map[string]uint64{"route": 1040, "no-connection": 60}, true},
		{"nothing seen", map[string]uint64{"route": 100}, true},
		{"none as claimed", map[string]uint64{"route": 100, "masq-in": 1000}, true},
	} {
		check := trial{verdict: "route", packets: 1000}
		if err := check.check(map[string]uint64{"route": 100}, tt.after); (err != nil) != tt.refused {
			t.Errorf("%s: %v, refused should be %t", tt.name, err, tt.refused)
		}
	}
}

func TestFigureOf(t *testing.T) {
	var times []float64
	for i := range 11 {
		times = append(times, float64(30-i))
	}
	got := figureOf(&trial{name: "x", times: times}, 10)
	want := Figure{Name: "x", NS: 21, Ratio: 2.1, Median: 25}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPrint(t *testing.T) {
	report := Report{
		MACSwapNS: 26.1, Rounds: 11, Conditions: Conditions{CPU: 1, Priority: "real time"},
		Floors: []Figure{{"mac-swap", 26.1, 1, 27}}, Cases: []Figure{{"dr-established", 64, 2.45, 66.25}},
		Cores:  []Scaling{{"dr-new-two-cores", 100, 51.25, 1.95}},
		Memory: []Footprint{{"memory-1m", 1000, 998, 71.7, 2100000}},
		Tasks:  []Work{{"age", 19.5}},
	}
	var out bytes.Buffer
	if err := report.Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `           floor    ns  median  ratio
        mac-swap  26.1    27.0   1.00
            case    ns  median  ratio
  dr-established  64.0    66.2   2.45
          two CPUs  ns of one  of both  times
  dr-new-two-cores      100.0     51.2   1.95
     memory  connections  found room  bytes each  MB, all maps
  memory-1m         1000         998        71.7             2
  task       ms
   age  19.5000
ns a packet, 10th percentile of 11 rounds on CPU 1, priority real time; ratios are to mac-swap
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
