// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps its named namespaces.
const netnsDir = "/run/netns"

// Namespace is a named network namespace, the very thing that
// `ip netns add NAME` makes and `ip netns` lists. It holds no file
// descriptor; the name is its only handle.
type Namespace struct {
	name  string
	inode uint64
}

// NewNamespace makes a network namespace with its loopback up. It fails with
// os.ErrExist if the name is taken.
func NewNamespace(name string) (*Namespace, error) {
	path, err := reserveName(name)
	if err != nil {
		return nil, err
	}
	if err := onNewNetwork(func() error { return bindNetwork(path) }); err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	n, err := OpenNamespace(name)
	if err != nil {
		return nil, err
	}
	if err := n.Do(func() error { return SetUp("lo") }); err != nil {
		return nil, errors.Join(err, n.Delete())
	}
	return n, nil
}

// OpenNamespace finds a namespace that was made by NewNamespace or by
// `ip netns add`.
func OpenNamespace(name string) (*Namespace, error) {
	n := &Namespace{name: name}
	ino, err := inode(n.Path())
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	n.inode = ino
	return n, nil
}

// Name returns the name under which `ip netns` lists the namespace.
func (n *Namespace) Name() string { return n.name }

// Path returns the file that stands for the namespace.
func (n *Namespace) Path() string { return filepath.Join(netnsDir, n.name) }

// Inode returns the number that names the namespace in state directories.
func (n *Namespace) Inode() uint64 { return n.inode }

// Do runs f in the namespace, on the calling goroutine and with its thread
// locked. A goroutine that f starts is not in the namespace.
func (n *Namespace) Do(f func() error) error {
	target, err := os.Open(n.Path())
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", n.name, err)
	}
	defer target.Close()
	return onNetwork(target, f)
}

// Delete removes the name. The namespace itself goes, with all its links,
// once no process is left in it. Deleting what is not there is no error.
func (n *Namespace) Delete() error {
	err := unix.Unmount(n.Path(), unix.MNT_DETACH)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount network namespace %s: %w", n.name, err)
	}
	if err := os.Remove(n.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", n.name, err)
	}
	return nil
}

// reserveName makes the empty file that the namespace is then mounted on.
func reserveName(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return "", fmt.Errorf("create network namespace %q: not a file name", name)
	}
	if err := shareNetnsDir(); err != nil {
		return "", err
	}
	path := filepath.Join(netnsDir, name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0)
	if err != nil {
		return "", fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return path, file.Close()
}

// shareNetnsDir does what iproute2 does (ip/ipnetns.c, netns_add): a shared
// mount lets a name that is deleted here vanish from other mount namespaces
// too. Done later by iproute2 it would cover our names with copies that
// Delete cannot reach.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", netnsDir, err)
	}
	err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if err == unix.EINVAL {
		if err = unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("share mount %s: %w", netnsDir, err)
	}
	return nil
}

func bindNetwork(path string) error {
	if err := unix.Mount(threadNetNS, path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// onNewNetwork runs f in a network namespace made for it.
func onNewNetwork(f func() error) error {
	return borrowThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, f)
}

// onNetwork runs f in the namespace that the file stands for.
func onNetwork(target *os.File, f func() error) error {
	return borrowThread(func() error { return unix.Setns(int(target.Fd()), unix.CLONE_NEWNET) }, f)
}

// borrowThread moves the calling thread elsewhere for f, and back. A thread
// that finds no way back stays locked, so that no other goroutine ever runs
// on it.
func borrowThread(enter, f func() error) error {
	runtime.LockOSThread()
	origin, err := os.Open(threadNetNS)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("remember network namespace: %w", err)
	}
	defer origin.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}
