// SPDX-License-Identifier: Apache-2.0

// Package testenv says what a test needs of the machine. A need that is not
// met skips the test, with the reason; with LVSX_REQUIRE=1 in the environment
// it fails the test, so that skipping cannot go unseen in CI.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// A Requirement returns why the machine does not meet it, or nil.
type Requirement func() error

// Need skips or fails the test unless all requirements are met.
func Need(tb testing.TB, requirements ...Requirement) {
	tb.Helper()
	for _, met := range requirements {
		err := met()
		if err == nil {
			continue
		}
		if os.Getenv("LVSX_REQUIRE") == "1" {
			tb.Fatalf("LVSX_REQUIRE=1: %v", err)
		}
		tb.Skip(err)
	}
}

// Root asks for an effective user ID of 0.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	return nil
}

// BPF asks for the right and the ability to load XDP programs.
func BPF() error {
	if err := features.HaveProgramType(ebpf.XDP); err != nil {
		return fmt.Errorf("needs XDP: %w", err)
	}
	return nil
}

// TCX asks for a kernel that has tc programs attached by links (Linux 6.6).
func TCX() error {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("needs Linux 6.6: %w", err)
	}
	if version < 6<<16|6<<8 {
		return errors.New("needs Linux 6.6")
	}
	return nil
}

// Namespaces asks for the right to make network namespaces. It makes one, on a
// thread that ends with it.
func Namespaces() error {
	made := make(chan error)
	go func() {
		runtime.LockOSThread()
		made <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	if err := <-made; err != nil {
		return fmt.Errorf("needs network namespaces: %w", err)
	}
	return nil
}

// Program asks for an executable in PATH.
func Program(name string) Requirement {
	return func() error {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("needs the program %s", name)
		}
		return nil
	}
}

// Namespace makes a network namespace that is removed when the test ends, with
// the processes in it and all that lvsx keeps of it. The name has the process's
// ID in it, so that tests of several packages can run side by side.
func Namespace(tb testing.TB, name string) *host.Namespace {
	tb.Helper()
	n, err := host.NewNamespace(fmt.Sprintf("lvsx-test-%d-%s", os.Getpid(), name))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// Its state and pins, too: the next namespace may get its inode.
		if err := host.Remove([]*host.Namespace{n}, time.Second); err != nil {
			tb.Error(err)
		}
	})
	return n
}
