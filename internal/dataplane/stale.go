// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// RemoveStalePins removes the pin directories beside dir whose interfaces are
// all gone: a director was killed there, and then its network namespace
// vanished. Nothing is ever forwarded by them again. It returns their names.
func RemoveStalePins(dir string) (removed []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("look for stale pins: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		other := filepath.Join(filepath.Dir(dir), entry.Name())
		if other != dir && entry.IsDir() && isStale(other) {
			errs = append(errs, RemovePins(other))
			removed = append(removed, entry.Name())
		}
	}
	return removed, errors.Join(errs...)
}

// isStale is sure of it: what cannot be read is left alone.
func isStale(dir string) bool {
	links, err := os.ReadDir(filepath.Join(dir, linksDir))
	if err != nil {
		return false
	}
	for _, entry := range links {
		l, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, entry.Name()), nil)
		if err != nil {
			return false
		}
		at, err := interfaceOf(l)
		l.Close()
		if err != nil || at != 0 {
			return false
		}
	}
	return len(links) > 0
}
