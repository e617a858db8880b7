// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// Threads of Go's that were started in real time would wait for each other.
func TestCalmThreads(t *testing.T) {
	testenv.Need(t, testenv.Root)
	raised, calmed := make(chan int), make(chan bool)
	defer close(calmed)
	go func() {
		runtime.LockOSThread() // and the thread ends with it
		if priority, err := raisePriority(); err != nil || priority != "real time" {
			t.Errorf("raised to %q: %v", priority, err)
		}
		raised <- unix.Gettid()
		<-calmed
	}()
	other := <-raised
	if err := calmThreads(); err != nil {
		t.Fatal(err)
	}
	got, err := unix.SchedGetAttr(other, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Policy != unix.SCHED_NORMAL {
		t.Errorf("policy %d, want %d", got.Policy, unix.SCHED_NORMAL)
	}
}
