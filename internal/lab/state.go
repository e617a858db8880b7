// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// hold is the right to make or remove the lab of a name. It is the lock on a
// directory that is there while the lab runs or stands; from the dead the
// kernel takes it back.
type hold struct {
	path string
	dir  *os.File
}

// keptMark is in the directory if the lab was left standing on purpose.
const keptMark = "kept"

// ErrKept is why no lab is built while one stands.
var ErrKept = errors.New("a lab stands already, kept by --keep: `lvsx lab down` removes it")

// acquire gets the hold for a new lab.
func acquire(name string) (*hold, error) {
	h, err := lock(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(h.path, keptMark)); err == nil {
		h.dir.Close()
		return nil, ErrKept
	}
	return h, nil
}

// lock fails if another process has it.
func lock(name string) (*hold, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := filepath.Join("/run/lvsx", name)
	for {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
		dir, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open state directory: %w", err)
		}
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isCurrent(dir, path) {
			return &hold{path, dir}, nil
		}
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("a lab is running already: wait for its end, or end it by Ctrl-C")
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// isCurrent is false if the directory was removed between open and lock.
func isCurrent(dir *os.File, path string) bool {
	locked, err := dir.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(locked, named)
}

// release leaves the directory only for a lab that is kept.
func (h *hold) release(keep bool) error {
	defer h.dir.Close()
	if keep {
		if err := os.WriteFile(filepath.Join(h.path, keptMark), nil, 0o600); err != nil {
			return fmt.Errorf("remember the lab: %w", err)
		}
		return nil
	}
	if err := os.RemoveAll(h.path); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// Down removes the lab of a name, kept or half dead, and tells how many
// namespaces that were. With none there it does nothing.
func Down(name string) (namespaces int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("remove lab: only root may; try `sudo`")
	}
	h, err := lock(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.release(false)) }()
	return removeAll(name)
}

func removeAll(name string) (namespaces int, err error) {
	left, err := host.Namespaces(NodeName(name, ""))
	if err != nil {
		return 0, err
	}
	return len(left), host.Remove(left, patience)
}
