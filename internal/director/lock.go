// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/control"
)

// ErrRunning is why a second director does not start.
var ErrRunning = errors.New("a director is already running in this network namespace")

const lockFile = "director.lock"

// lock keeps every other director out of the namespace's state for as long as
// this process lives, however it ends.
func lock(stateDir string) (unlock func(), err error) {
	path := filepath.Join(stateDir, lockFile)
	file, err := lockPath(path)
	for err == nil && !isCurrent(file) {
		file.Close() // its last holder removed it before we locked it
		file, err = lockPath(path)
	}
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), file.Close())
	}
	if _, err := fmt.Fprintf(file, "%d\n", os.Getpid()); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), file.Close())
	}
	return func() { file.Close() }, nil
}

func lockPath(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w%s", ErrRunning, holder(file))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// isCurrent tells whether an open file is still what its name leads to.
func isCurrent(file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(file.Name())
	return err == nil && os.SameFile(opened, named)
}

// holder names the process that has the lock, if it wrote its number yet.
func holder(file *os.File) string {
	pid, err := os.ReadFile(file.Name())
	if err != nil || len(pid) == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %s)", strings.TrimSpace(string(pid)))
}

// removeStaleState removes what killed directors left of namespaces that are
// gone. State directories have the names of pin directories.
func removeStaleState(stateDir string, names []string) error {
	var errs []error
	for _, name := range names {
		dir := filepath.Join(filepath.Dir(stateDir), name)
		errs = append(errs, removeFiles(dir))
		// What others keep there is theirs.
		_ = os.Remove(dir)
	}
	return errors.Join(errs...)
}

// removeFiles removes what a director keeps in the state directory.
func removeFiles(stateDir string) error {
	var errs []error
	for _, name := range []string{lockFile, receiveOffloadFile, vlanOffloadFile, loopbackFile, filepath.Base(control.SocketPath(""))} {
		if err := os.Remove(filepath.Join(stateDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove state: %w", err))
		}
	}
	return errors.Join(errs...)
}
