// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
	"github.com/lvsx/lvsx/internal/testenv/recorded"
)

// notBuilt are the director's reasons for refusing what recordings ask for. A
// recording may differ if it met one. A reason that no recording meets must be
// taken off the list.
var notBuilt = []string{
	"--start-daemon is not built yet",
	"--stop-daemon is not built yet",
}

const recordings = "../../internal/ipvsadm/testdata/golden"

// All that was recorded of the real ipvsadm, said to ours and a live director.
func TestRecordings(t *testing.T) {
	d := startRecordedDirector(t)
	met := make(map[string]bool)
	for _, c := range recorded.Cases(t, recordings) {
		t.Run(c.Name, func(t *testing.T) {
			d.clear(t)
			excused := false
			diff := c.Replay(func(s recorded.Step) recorded.Step {
				s = d.run(t, s)
				for _, reason := range notBuilt {
					if strings.Contains(s.Stderr, reason) {
						met[reason], excused = true, true
					}
				}
				return s
			})
			if diff != "" && !excused {
				t.Error(diff)
			}
		})
	}
	for _, reason := range notBuilt {
		if !met[reason] {
			t.Errorf("%q: not said any more; take it off the list", reason)
		}
	}
}

// recordedDirector is a director where the recordings were made: a namespace
// with their addresses, and their files of names in mounts of its own.
type recordedDirector struct {
	tasks chan func()
}

const programs = "/mnt" // where tests mount theirs; nothing else in those mounts needs it

func startRecordedDirector(t *testing.T) *recordedDirector {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	n := testenv.Namespace(t, "recordings")
	d := &recordedDirector{tasks: make(chan func())}
	t.Cleanup(func() { close(d.tasks) })
	// Children inherit namespaces and mounts of the thread that starts them.
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the test
		for task := range d.tasks {
			task()
		}
	}()
	d.do(t, func() error { return enterRecorded(n) })
	director := exec.Command(filepath.Join(programs, "lvsx"), "director", "--interface", "eth0", "--connections", "1024")
	var log bytes.Buffer
	director.Stdout, director.Stderr = &log, &log
	d.do(t, director.Start)
	t.Cleanup(func() {
		if err := errors.Join(director.Process.Signal(syscall.SIGTERM), director.Wait()); err != nil {
			t.Errorf("director: %v\n%s", err, &log)
		}
	})
	d.awaitReady(t)
	return d
}

// enterRecorded moves the thread.
func enterRecorded(n *host.Namespace) error {
	err := n.Do(func() error {
		if err := host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "peer"}); err != nil {
			return err
		}
		for _, address := range []string{"10.0.0.1/24", "2001:db8:ffff::1/64"} {
			if _, err := host.AddAddress("eth0", netip.MustParsePrefix(address)); err != nil {
				return err
			}
		}
		return errors.Join(host.SetUp("eth0"), host.SetUp("peer"))
	})
	if err != nil {
		return err
	}
	namespace, err := os.Open(n.Path())
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	return mountRecorded()
}

// mountRecorded gives the thread's children the names of the recordings, and
// programs that users who are not root can reach.
func mountRecorded() error {
	lvsx, err := exec.LookPath("lvsx") // TestMain has put it there
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leave mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leave mounts: %w", err)
	}
	for from, to := range map[string]string{
		filepath.Join(recordings, "etc/etc-hosts"):    "/etc/hosts",
		filepath.Join(recordings, "etc/etc-services"): "/etc/services",
		filepath.Dir(lvsx):                            programs,
	} {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
	}
	return nil
}

// do runs f on the thread.
func (d *recordedDirector) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	d.tasks <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (d *recordedDirector) awaitReady(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		s := d.run(t, recorded.Step{Argv: []string{"ipvsadm", "-L"}})
		if s.RC == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v the director is not ready: %s", patience, s.Stderr)
		}
	}
}

// clear makes the director as it was at its start.
func (d *recordedDirector) clear(t *testing.T) {
	t.Helper()
	for _, line := range []string{"ipvsadm -C", "ipvsadm --set 900 120 300"} {
		if s := d.run(t, recorded.Step{Argv: strings.Fields(line)}); s.RC != 0 {
			t.Fatalf("%s: %s", line, s.Stderr)
		}
	}
}

// run does the step and returns it with what was printed now.
func (d *recordedDirector) run(t *testing.T, s recorded.Step) recorded.Step {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(programs, s.Argv[0]), s.Argv[1:]...)
	cmd.Args[0] = s.Argv[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(s.Stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if s.UID != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.UID)}}
	}
	d.do(t, cmd.Start)
	var failed *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	s.RC, s.Stdout, s.Stderr = cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
	return s
}
