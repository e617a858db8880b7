// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
)

// verifierBudget is half of what the kernel's verifier is willing to look at
// (BPF_COMPLEXITY_LIMIT_INSNS): other kernels look at more.
const verifierBudget = 1_000_000 / 2

var verifierStats = regexp.MustCompile(`(?s)verification time (\d+) usec.*processed (\d+) insns`)

// CheckVerifierCost loads each program alone, prints what that costs the
// verifier, and fails the test if it is above half of the limit.
func CheckVerifierCost(t *testing.T, spec *ebpf.CollectionSpec) {
	t.Helper()
	Need(t, Root, BPF)
	programs := spec.Programs
	for _, m := range spec.Maps {
		if m.Type == ebpf.ProgramArray {
			m.Contents = nil // the others
		}
	}
	for name, program := range programs {
		spec.Programs = map[string]*ebpf.ProgramSpec{name: program}
		options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats, LogSizeStart: 1 << 20}}
		collection, err := ebpf.NewCollectionWithOptions(spec, options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		log := collection.Programs[name].VerifierLog
		collection.Close()
		stats := verifierStats.FindStringSubmatch(log)
		if stats == nil {
			t.Errorf("%s: the verifier does not say what it did: %q", name, log)
			continue
		}
		cost, err := strconv.Atoi(stats[2])
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions processed in %s µs", name, cost, stats[1])
		if cost > verifierBudget {
			t.Errorf("%s: %d instructions processed, more than %d", name, cost, verifierBudget)
		}
	}
}
