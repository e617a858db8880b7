// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// `ip netns exec`, which mounts a /sys of its own, is how people try a director in
// a namespace: it starts there, and again after it was killed.
func TestInNetnsExec(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.Program("ip"))
	n := testenv.Namespace(t, "exec")
	err := n.Do(func() error {
		if err := host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "peer"}); err != nil {
			return err
		}
		_, err := host.AddAddress("eth0", netip.MustParsePrefix("10.0.0.1/24"))
		return errors.Join(err, host.SetUp("eth0"), host.SetUp("peer"))
	})
	if err != nil {
		t.Fatal(err)
	}
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
		ready := until(30*time.Second, func() bool { return inside("status").Run() == nil })
		err := errors.Join(director.Process.Signal(end), director.Wait())
		if !ready || (err != nil) != (end == syscall.SIGKILL) {
			t.Fatalf("ready: %v, ended by %s: %v\n%s", ready, end, err, &log)
		}
	}
}

// until tells whether something comes true in time.
func until(patience time.Duration, holds func() bool) bool {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-poll.C {
		if holds() {
			return true
		}
	}
	return false
}
