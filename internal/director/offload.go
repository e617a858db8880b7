// SPDX-License-Identifier: Apache-2.0

package director

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
)

// The files that list the interfaces to give an offload back, of received
// packets that are merged and of VLAN tags that are taken out of frames.
const (
	receiveOffloadFile = "receive-offload.json"
	vlanOffloadFile    = "vlan-offload.json"
)

// offload is what some interfaces do no longer, for the director's sake, until
// its end.
type offload struct {
	path string
	is   func(link string) (bool, error)
	set  func(link string, on bool) error
	off  []string // interfaces where it was turned off
}

func (o *offload) load(stateDir, file string) error {
	o.path = filepath.Join(stateDir, file)
	text, err := os.ReadFile(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, &o.off); err != nil {
		return fmt.Errorf("read %s: %w", o.path, err)
	}
	return nil
}

// turnOff turns it off where it is on, and remembers where.
func (o *offload) turnOff(link string) (done bool, err error) {
	on, err := o.is(link)
	if err != nil || !on || slices.Contains(o.off, link) {
		return false, err
	}
	text, err := json.Marshal(append(o.off, link))
	if err != nil {
		return false, fmt.Errorf("write state: %w", err)
	}
	if err := writeWhole(o.path, text); err != nil {
		return false, err
	}
	o.off = append(o.off, link)
	return true, o.set(link, false)
}

// restore turns it on again where it was.
func (o *offload) restore() error {
	var errs []error
	for _, link := range o.off {
		if _, err := host.LinkByName(link); err == nil {
			errs = append(errs, o.set(link, true))
		}
	}
	return errors.Join(errs...)
}
