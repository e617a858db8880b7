// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

const startedInRealTime = "LVSX_TEST_STARTED_IN_REAL_TIME"

// The test starts itself in real time, and then finds itself without.
func TestRestartOrdinary(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if os.Getenv(startedInRealTime) != "" {
		if err := RestartOrdinary(); err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(unix.Getpid(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Policy != unix.SCHED_NORMAL {
			t.Errorf("policy %d, want %d", attr.Policy, unix.SCHED_NORMAL)
		}
		return
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with it
		if priority, err := raisePriority(); err != nil || priority != "real time" {
			t.Errorf("raised to %q: %v", priority, err)
		}
		again := exec.Command(os.Args[0], "-test.run=^TestRestartOrdinary$")
		again.Env = append(os.Environ(), startedInRealTime+"=1")
		output, err := again.CombinedOutput()
		t.Logf("%s", output)
		started <- err
	}()
	if err := <-started; err != nil {
		t.Errorf("started in real time: %v", err)
	}
}
