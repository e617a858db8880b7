// SPDX-License-Identifier: Apache-2.0

// Package host changes the network of the machine it runs on: namespaces,
// links, addresses, routes, neighbours and sysctls. It knows Linux, and
// nothing of services, packets or maps; netlink's types do not leave it.
//
// Every function works on the network namespace of the calling thread, which
// is the process's own unless Namespace.Do says otherwise.
package host

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runDir holds all state that must not outlive a boot.
const runDir = "/run/lvsx"

// threadNetNS names the network namespace of the thread that opens it;
// /proc/self would be that of the process's first thread.
const threadNetNS = "/proc/thread-self/ns/net"

// NetworkInode returns the inode of the calling thread's network namespace,
// the number that `ls -i /run/netns` and `lsns` show.
func NetworkInode() (uint64, error) {
	return inode(threadNetNS)
}

// NetworkCookie returns a number that no other network namespace has had since
// the machine started. An inode is used again for a new namespace once the
// old one is gone; what is remembered under it must be checked by the cookie.
func NetworkCookie() (uint64, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	defer unix.Close(socket)
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return cookie, nil
}

func inode(path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return stat.Ino, nil
}

// StatePath returns where the state of the calling thread's network namespace
// is, if there is any.
func StatePath() (string, error) {
	ino, err := NetworkInode()
	if err != nil {
		return "", err
	}
	return filepath.Join(runDir, fmt.Sprintf("netns-%d", ino)), nil
}

// StateDir returns the directory for state of the calling thread's network
// namespace, readable by root only, and creates it if need be.
func StateDir() (string, error) {
	dir, err := StatePath()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	return dir, nil
}

// LockState waits until no other process holds the state of the calling
// thread's network namespace, and holds it until unlock is called.
func LockState() (unlock func(), err error) {
	for {
		dir, err := lockStateDir()
		if err != nil {
			return nil, err
		}
		if isCurrent(dir) {
			return func() { dir.Close() }, nil
		}
		dir.Close() // RemoveStateDir was faster
	}
}

func lockStateDir() (*os.File, error) {
	path, err := StateDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock state: %w", err)
	}
	return dir, nil
}

// isCurrent tells whether the open file is still what its name leads to.
func isCurrent(file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(file.Name())
	return err == nil && os.SameFile(opened, named)
}

// RemoveStateDir removes what StateDir made for the calling thread's network
// namespace, if nothing is left in it.
func RemoveStateDir() error {
	ino, err := NetworkInode()
	if err != nil {
		return err
	}
	return removeEmpty(filepath.Join(runDir, fmt.Sprintf("netns-%d", ino)))
}

// removeEmpty removes directories in the order given, and leaves those that
// are not empty or not there.
func removeEmpty(dirs ...string) error {
	for _, dir := range dirs {
		err := unix.Rmdir(dir)
		if err != nil && err != unix.ENOTEMPTY && err != unix.ENOENT {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
	}
	return nil
}
