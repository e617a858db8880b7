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

func inode(path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return stat.Ino, nil
}

// StateDir returns the directory for state of the calling thread's network
// namespace, readable by root only, and creates it if need be.
func StateDir() (string, error) {
	ino, err := NetworkInode()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	dir := filepath.Join(runDir, fmt.Sprintf("netns-%d", ino))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	return dir, nil
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
