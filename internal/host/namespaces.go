// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Namespaces finds the named network namespaces whose names begin so.
func Namespaces(prefix string) ([]*Namespace, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var found []*Namespace
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		n, err := OpenNamespace(entry.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	return found, nil
}

// Remove ends the processes in the namespaces, asking them first and giving
// them so long to obey, removes what lvsx keeps of the namespaces on disk and
// in the kernel, and deletes them. What is gone already is no error.
func Remove(namespaces []*Namespace, patience time.Duration) error {
	errs := []error{endProcesses(namespaces, patience)}
	for _, n := range namespaces {
		errs = append(errs, n.forget(), n.Delete())
	}
	return errors.Join(errs...)
}

// forget removes the state directory and the pins of the namespace. A name
// that nothing is mounted on has neither.
func (n *Namespace) forget() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(n.Path(), &stat); err != nil || stat.Type != unix.NSFS_MAGIC {
		return nil
	}
	return n.Do(func() error {
		state := filepath.Join(runDir, fmt.Sprintf("netns-%d", n.inode))
		return errors.Join(removePins(), os.RemoveAll(state), UnmountBPFFSIfOurs())
	})
}

func removePins() error {
	return onDisposableThread(func() error {
		dir, err := PinDir()
		if err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove pins: %w", err)
		}
		return nil
	})
}

// endProcesses asks all processes in the namespaces to end, and ends those
// that have not when patience is over.
func endProcesses(namespaces []*Namespace, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		processes, err := processesIn(namespaces)
		if err != nil {
			return err
		}
		for _, p := range processes {
			defer unix.Close(p)
			// It may have ended by itself.
			_ = unix.PidfdSendSignal(p, signal, nil, 0)
		}
		for _, p := range processes {
			awaitEnd(p, time.Until(deadline))
		}
		deadline = time.Now().Add(time.Second)
	}
	return nil
}

// processesIn returns a pidfd for each process, other than our own, whose
// first thread is in one of the namespaces.
func processesIn(namespaces []*Namespace) ([]int, error) {
	wanted := make(map[uint64]bool)
	for _, n := range namespaces {
		wanted[n.inode] = true
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var processes []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// Looked at while it is held open, the number cannot pass to another.
		if ino, err := inode(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || !wanted[ino] {
			unix.Close(p)
			continue
		}
		processes = append(processes, p)
	}
	return processes, nil
}

// awaitEnd returns when the process has ended or the time is over.
func awaitEnd(pidfd int, limit time.Duration) {
	for deadline := time.Now().Add(limit); ; {
		left := max(time.Until(deadline), 0)
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if err != unix.EINTR {
			return
		}
	}
}
