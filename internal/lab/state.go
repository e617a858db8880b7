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

// stateDir is there while a lab runs or stands. Whoever runs it holds its
// lock, which the kernel takes back from the dead.
const stateDir = "/run/lvsx/lab"

// keptMark is there if the lab was left standing on purpose.
var keptMark = filepath.Join(stateDir, "kept")

// hold is the right to make or remove labs.
type hold struct{ dir *os.File }

// ErrKept is why no lab is built while one stands.
var ErrKept = errors.New("a lab stands already, kept by --keep: `lvsx lab down` removes it")

// acquire gets the hold for a new lab.
func acquire() (*hold, error) {
	h, err := lock()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(keptMark); err == nil {
		h.dir.Close()
		return nil, ErrKept
	}
	return h, nil
}

// lock fails if another process has it.
func lock() (*hold, error) {
	for {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
		dir, err := os.Open(stateDir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open state directory: %w", err)
		}
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isCurrent(dir) {
			return &hold{dir}, nil
		}
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("a lab is running already: wait for its end, or end it by Ctrl-C")
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", stateDir, err)
		}
	}
}

// isCurrent is false if the directory was removed between open and lock.
func isCurrent(dir *os.File) bool {
	locked, err := dir.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(stateDir)
	return err == nil && os.SameFile(locked, named)
}

// release leaves the state directory only for a lab that is kept.
func (h *hold) release(keep bool) error {
	defer h.dir.Close()
	if !keep {
		return removeStateDir()
	}
	if err := os.WriteFile(keptMark, nil, 0o600); err != nil {
		return fmt.Errorf("remember the lab: %w", err)
	}
	return nil
}

func removeStateDir() error {
	if err := os.RemoveAll(stateDir); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// Down removes a lab that was kept, or what is left of one that was killed,
// and tells how many namespaces that were. With none there it does nothing.
func Down() (namespaces int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("remove lab: only root may; try `sudo`")
	}
	h, err := lock()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.release(false)) }()
	standing, err := host.Namespaces(Name + "-")
	if err != nil {
		return 0, err
	}
	return len(standing), host.Remove(standing, patience)
}

func removeAll() error {
	left, err := host.Namespaces(Name + "-")
	if err != nil {
		return err
	}
	return host.Remove(left, patience)
}
