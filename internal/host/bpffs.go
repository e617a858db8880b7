// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// bpfDir is where bpftool, iproute2 and systemd mount the BPF file system.
const bpfDir = "/sys/fs/bpf"

// mountMarker is there if bpfDir was mounted by us.
const mountMarker = runDir + "/bpffs-mounted"

// PinDir returns the directory for pins of the calling thread's network
// namespace. It is meaningful, and to be created, inside InHostMounts only.
func PinDir() (string, error) {
	ino, err := NetworkInode()
	if err != nil {
		return "", err
	}
	return filepath.Join(bpfDir, "lvsx", fmt.Sprintf("netns-%d", ino)), nil
}

// InHostMounts runs f where the machine's first process sees its files, with
// a BPF file system on /sys/fs/bpf, and in the caller's network namespace.
//
// `ip netns exec` gives each process a /sys of its own, which hides the
// machine's /sys/fs/bpf; what is mounted or pinned there goes when the
// process does. Pins made by f outlive it, and the next process finds them.
//
// f runs on a thread of its own: a goroutine that it starts sees the old
// mounts. Relative paths are relative to the root directory.
func InHostMounts(f func() error) error {
	return onDisposableThread(func() error {
		lock, err := holdMount()
		if err != nil {
			return err
		}
		defer lock.Close()
		return f()
	})
}

// UnmountBPFFSIfOurs removes empty directories of pins, and unmounts
// /sys/fs/bpf if InHostMounts mounted it and nothing is pinned there. While
// another InHostMounts is at work it does nothing: that one's owner will.
func UnmountBPFFSIfOurs() error {
	return onDisposableThread(func() error {
		lock, err := lockMount(unix.LOCK_EX | unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		if err != nil {
			return err
		}
		defer lock.Close()
		if err := removeEmptyPinDirs(); err != nil {
			return err
		}
		if _, err := os.Stat(mountMarker); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return unmountIfEmpty()
	})
}

func unmountIfEmpty() error {
	entries, err := os.ReadDir(bpfDir)
	if err != nil {
		return fmt.Errorf("look into %s: %w", bpfDir, err)
	}
	if slices.ContainsFunc(entries, isPin) {
		return nil
	}
	err = unix.Unmount(bpfDir, 0)
	if err == unix.EBUSY {
		return nil
	}
	if err != nil && err != unix.EINVAL {
		return fmt.Errorf("unmount %s: %w", bpfDir, err)
	}
	if err := os.Remove(mountMarker); err != nil {
		return fmt.Errorf("forget the mount: %w", err)
	}
	return nil
}

// isPin tells what somebody put there from the iterators that a kernel with
// CONFIG_BPF_PRELOAD puts into each mount (kernel/bpf/inode.c, populate_bpffs).
func isPin(entry os.DirEntry) bool {
	return entry.Name() != "maps.debug" && entry.Name() != "progs.debug"
}

// removeEmptyPinDirs removes the directories of PinDir if nothing is pinned.
func removeEmptyPinDirs() error {
	own, err := PinDir()
	if err != nil {
		return err
	}
	return removeEmpty(own, filepath.Dir(own))
}

// holdMount returns a shared lock under which there is a BPF file system. Two
// processes that mounted it at once would hide each other's pins, so mounting
// takes the lock exclusively; and as a lock is not lowered in one step, what
// was mounted is looked for again.
func holdMount() (*os.File, error) {
	for {
		lock, err := lockMount(unix.LOCK_SH)
		if err != nil {
			return nil, err
		}
		mounted, err := isMounted()
		if mounted {
			return lock, nil
		}
		lock.Close()
		if err == nil {
			err = mountBPFFS()
		}
		if err != nil {
			return nil, err
		}
	}
}

func isMounted() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(bpfDir, &stat); err != nil {
		return false, fmt.Errorf("look for the BPF file system on %s (is sysfs mounted on /sys?): %w", bpfDir, err)
	}
	return stat.Type == unix.BPF_FS_MAGIC, nil
}

func mountBPFFS() error {
	lock, err := lockMount(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	if mounted, err := isMounted(); mounted || err != nil {
		return err
	}
	if err := unix.Mount("bpf", bpfDir, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount the BPF file system on %s: %w", bpfDir, err)
	}
	if err := os.WriteFile(mountMarker, nil, 0o600); err != nil {
		return fmt.Errorf("remember the mount: %w", err)
	}
	return nil
}

// lockMount keeps one process from unmounting what another is about to use.
func lockMount(how int) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	dir, err := os.Open(runDir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), how); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", runDir, err)
	}
	return dir, nil
}

// onDisposableThread runs f in the machine's mount namespace and in the
// caller's network namespace. setns(2) moves a thread between mount
// namespaces only if it shares its root and working directory with no other,
// and that cannot be taken back: the thread stays locked and ends with f.
func onDisposableThread(f func() error) error {
	network, err := os.Open(threadNetNS)
	if err != nil {
		return fmt.Errorf("remember network namespace: %w", err)
	}
	defer network.Close()

	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := enterHostMounts(network); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func enterHostMounts(network *os.File) error {
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	mounts, err := hostMounts()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the machine's mount namespace: %w", err)
	}
	return nil
}

// hostMounts is found once: who our ancestors are changes when they end, and
// what was pinned must be found again.
var hostMounts = sync.OnceValues(openHostMounts)

// openHostMounts opens the mount namespace of process 1. Where that has more
// rights than we have and is closed to us (ptrace(2), access mode checking) it
// is that of our furthest ancestor that is not, of the shell in which `ip netns
// exec` was typed, for one; and where no ancestor is left, the one that most
// processes with our root directory are in.
func openHostMounts() (*os.File, error) {
	first, err := os.Open("/proc/1/ns/mnt")
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return first, err
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("read mount namespace: %w", err)
	}
	furthest := os.Getpid()
	for pid := os.Getppid(); pid > 1; pid = parentOf(pid) {
		if _, err := os.Readlink(mountsOf(pid)); err != nil {
			break
		}
		furthest = pid
	}
	if found, err := os.Readlink(mountsOf(furthest)); err != nil || found == own {
		furthest = inCommonMounts()
	}
	return os.Open(mountsOf(furthest))
}

func mountsOf(pid int) string {
	return fmt.Sprintf("/proc/%d/ns/mnt", pid)
}

// inCommonMounts returns a process in the mount namespace that most processes
// with our root directory are in, our own if there is none with more.
func inCommonMounts() int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	root, err := os.Stat("/")
	if err != nil {
		return os.Getpid()
	}
	most, count := os.Getpid(), make(map[string]int)
	for _, process := range processes {
		mounts, err := os.Readlink(process + "/ns/mnt")
		if err != nil {
			continue
		}
		itsRoot, err := os.Stat(process + "/root/")
		if err != nil || !os.SameFile(root, itsRoot) {
			continue
		}
		count[mounts]++
		if best, err := os.Readlink(mountsOf(most)); err == nil && count[mounts] > count[best] {
			most, _ = strconv.Atoi(filepath.Base(process))
		}
	}
	return most
}

// parentOf returns 0 for a process that is gone.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// "pid (name) state ppid …": the name may hold spaces and parentheses.
	var state string
	var parent int
	if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent); err != nil {
		return 0
	}
	return parent
}
