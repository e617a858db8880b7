// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lvsx/lvsx/internal/testenv"
)

// `ip netns exec`, which mounts a /sys of its own, is how people try a director in
// a namespace: it starts there, and again after it was killed.
func TestInNetnsExec(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.Program("ip"))
	n := namespaceOfDirector(t, "exec")
	inside := func(args ...string) *exec.Cmd {
		return exec.Command("ip", append([]string{"netns", "exec", filepath.Base(n.Path()), "lvsx"}, args...)...)
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		director := inside("director", "--interface", "eth0", "--connections", "1024")
		var log bytes.Buffer
		director.Stdout, director.Stderr = &log, &log
		if err := director.Start(); err != nil {
			t.Fatal(err)
		}
		ready := isReady(func() error { return inside("status").Run() })
		err := errors.Join(director.Process.Signal(end), director.Wait())
		if !ready || (err != nil) != (end == syscall.SIGKILL) {
			t.Fatalf("ready: %v, ended by %s: %v\n%s", ready, end, err, &log)
		}
	}
}
