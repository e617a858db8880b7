// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The kernel empties a map of programs when the last process closes it that has
// it open, unless it is pinned. Each process has its own, since the program that
// it was loaded with goes on with no other's.

const programsPin = "programs-"

func (d *Dataplane) programsPin() (string, error) {
	info, err := d.maps.Programs.Info()
	if err != nil {
		return "", fmt.Errorf("look at map of programs: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return "", fmt.Errorf("look at map of programs: the kernel tells no id")
	}
	return fmt.Sprintf("%s%d", programsPin, id), nil
}

// pinPrograms lets the programs outlive the process that the attached one leaves
// packets to.
func (d *Dataplane) pinPrograms() error {
	name, err := d.programsPin()
	if err != nil {
		return err
	}
	if err := d.maps.Programs.Pin(filepath.Join(d.config.PinDir, name)); err != nil {
		return fmt.Errorf("pin map of programs: %w", err)
	}
	return nil
}

// forgetPrograms lets go of those of earlier processes, which run no more.
func (d *Dataplane) forgetPrograms() error {
	if d.config.PinDir == "" {
		return nil
	}
	ours, err := d.programsPin()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(d.config.PinDir)
	if err != nil {
		return fmt.Errorf("look for pinned programs: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), programsPin) || entry.Name() == ours {
			continue
		}
		if err := os.Remove(filepath.Join(d.config.PinDir, entry.Name())); err != nil {
			return fmt.Errorf("unpin programs: %w", err)
		}
	}
	return nil
}
