// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// TestMain lets the tests start themselves again as another process.
func TestMain(m *testing.M) {
	switch os.Getenv("HOST_TEST_PROCESS") {
	case "pin":
		os.Exit(exitStatus(host.InHostMounts(pinMap), waitToBeKilled()))
	case "find":
		os.Exit(exitStatus(host.InHostMounts(findMap)))
	}
	os.Exit(m.Run())
}

// A pin made under `ip netns exec`, which hides /sys/fs/bpf, outlives a
// SIGKILL of its maker and is found by the next process, and by nobody in
// another namespace.
func TestPinOutlivesProcess(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF, testenv.Program("ip"))
	n, other := testenv.Namespace(t, "pin"), testenv.Namespace(t, "other")
	t.Cleanup(func() { do(t, n, removePins) })

	maker := inNetns(n, "pin")
	if _, err := maker.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	ready, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Errorf("wait for the pin: %v", err)
	}
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	maker.Wait()

	if out, err := inNetns(n, "find").CombinedOutput(); err != nil {
		t.Errorf("next process does not find the pin: %v\n%s", err, out)
	}
	if out, err := inNetns(other, "find").CombinedOutput(); err == nil || !strings.Contains(string(out), "no such file") {
		t.Errorf("a process in another namespace: %v\n%s", err, out)
	}
}

func TestInHostMountsKeepsNetwork(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	n := testenv.Namespace(t, "keep")
	var got uint64
	do(t, n, func() error {
		return host.InHostMounts(func() (err error) { got, err = host.NetworkInode(); return err })
	})
	if got != n.Inode() {
		t.Errorf("network namespace in InHostMounts is %d, want %d", got, n.Inode())
	}
	do(t, n, removePins)
}

// Many at once mount and unmount, and none loses what it pinned.
func TestMountAndUnmountAtOnce(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	var done sync.WaitGroup
	for i := range 8 {
		n := testenv.Namespace(t, strconv.Itoa(i))
		done.Go(func() {
			for range 10 {
				err := n.Do(func() error {
					return errors.Join(host.InHostMounts(pinMap), host.InHostMounts(findMap), host.InHostMounts(mountedOnce), removePins())
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
}

// mountedOnce fails if one mount hides another.
func mountedOnce() error {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if n := strings.Count(string(mounts), " /sys/fs/bpf "); err == nil && n != 1 {
		return fmt.Errorf("the BPF file system is mounted %d times", n)
	}
	return err
}

func inNetns(n *host.Namespace, what string) *exec.Cmd {
	cmd := exec.Command("ip", "netns", "exec", n.Name(), os.Args[0])
	cmd.Env = append(os.Environ(), "HOST_TEST_PROCESS="+what)
	return cmd
}

func pinMap() error {
	dir, err := host.PinDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	return m.Pin(filepath.Join(dir, "kept"))
}

func findMap() error {
	dir, err := host.PinDir()
	if err != nil {
		return err
	}
	_, err = ebpf.LoadPinnedMap(filepath.Join(dir, "kept"), nil)
	return err
}

func removePins() error {
	err := host.InHostMounts(func() error {
		dir, err := host.PinDir()
		return errors.Join(err, os.RemoveAll(dir))
	})
	return errors.Join(err, host.UnmountBPFFSIfOurs())
}

// waitToBeKilled says that the pin is there and then waits for standard input
// to end, which it does when the test is gone.
func waitToBeKilled() error {
	if _, err := os.Stdout.WriteString("."); err != nil {
		return err
	}
	_, err := io.ReadAll(os.Stdin)
	return err
}

func exitStatus(errs ...error) int {
	if err := errors.Join(errs...); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}
