// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
)

// state is what is remembered between commands, in one file for each network
// namespace. It goes at a reboot, as all that it describes does.
type state struct {
	Namespace uint64 `json:"namespace"` // cookie; see host.NetworkCookie
	Wants     []Want `json:"wants"`
	Done      []Step `json:"done"` // in the order made
}

const stateFile = "realserver.json"

// usesDecapsulator tells whether there is something in the decapsulator.
func (s state) usesDecapsulator() bool {
	decapsulator := []Kind{AddMember, AddTunnel, Attach, Clamp, AttachClamp}
	return slices.ContainsFunc(s.Done, func(s Step) bool { return slices.Contains(decapsulator, s.Kind) })
}

func (s state) isEmpty() bool { return len(s.Wants)+len(s.Done) == 0 }

// loadState returns an empty state if there is none, or one of a namespace
// that is gone.
func loadState() (state, error) {
	cookie, err := host.NetworkCookie()
	if err != nil {
		return state{}, err
	}
	path, err := statePath()
	if err != nil {
		return state{}, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return state{Namespace: cookie}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("read state: %w", err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("read state %s: %w", path, err)
	}
	if s.Namespace != cookie {
		return state{Namespace: cookie}, nil
	}
	return s, nil
}

// save writes the whole file or none of it. Nothing to remember means no file.
func (s state) save() error {
	path, err := statePath()
	if err != nil {
		return err
	}
	if s.isEmpty() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove state: %w", err)
		}
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	next := path + ".new"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func statePath() (string, error) {
	dir, err := host.StateDir()
	return filepath.Join(dir, stateFile), err
}

// needsMounts tells whether serving the wants may touch the decapsulator.
func needsMounts(s state, wants []Want) bool {
	tunnels := func(w Want) bool { return w.Method == TUN }
	return s.usesDecapsulator() || slices.ContainsFunc(wants, tunnels)
}
