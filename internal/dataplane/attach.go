// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf/link"
)

// Mode is where the kernel runs the program on an interface.
type Mode string

// The modes.
const (
	Native  Mode = "native"  // in the driver
	Generic Mode = "generic" // in the stack, on any interface, slower
)

// attachment is the program on one interface.
type attachment struct {
	link link.Link
	mode Mode
}

const linksDir = "links"

// pinName holds interface and mode, which the kernel does not tell of a link.
func pinName(ifindex int, mode Mode) string {
	return fmt.Sprintf("%d-%s", ifindex, mode)
}

func parsePinName(name string) (ifindex int, mode Mode, ok bool) {
	for _, mode := range []Mode{Native, Generic} {
		suffix := "-" + string(mode)
		if len(name) <= len(suffix) || name[len(name)-len(suffix):] != suffix {
			continue
		}
		ifindex, err := strconv.Atoi(name[:len(name)-len(suffix)])
		return ifindex, mode, err == nil
	}
	return 0, "", false
}

// Attach runs the program on an interface. Where it already runs in that mode,
// also since an earlier process, nothing happens.
func (d *Dataplane) Attach(ifindex int, mode Mode) error {
	if a, ok := d.links[ifindex]; ok {
		if a.mode == mode {
			return nil
		}
		if err := d.Detach(ifindex); err != nil {
			return err
		}
	}
	flags := link.XDPGenericMode
	if mode == Native {
		flags = link.XDPDriverMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: d.program, Interface: ifindex, Flags: flags})
	if err != nil {
		return fmt.Errorf("attach %s XDP to interface %d: %w", mode, ifindex, err)
	}
	if err := d.pinLink(l, ifindex, mode); err != nil {
		return errors.Join(err, l.Close())
	}
	d.links[ifindex] = &attachment{link: l, mode: mode}
	return nil
}

func (d *Dataplane) pinLink(l link.Link, ifindex int, mode Mode) error {
	if d.config.PinDir == "" {
		return nil
	}
	dir := filepath.Join(d.config.PinDir, linksDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	if err := l.Pin(filepath.Join(dir, pinName(ifindex, mode))); err != nil {
		return fmt.Errorf("pin link of interface %d: %w", ifindex, err)
	}
	return nil
}

// Detach takes the program off an interface, also one that is gone.
func (d *Dataplane) Detach(ifindex int) error {
	a, ok := d.links[ifindex]
	if !ok {
		return nil
	}
	delete(d.links, ifindex)
	var unpin error
	if d.config.PinDir != "" {
		unpin = a.link.Unpin()
	}
	if err := errors.Join(unpin, a.link.Close()); err != nil {
		return fmt.Errorf("detach from interface %d: %w", ifindex, err)
	}
	return nil
}

// Attached returns the interfaces that the program runs on.
func (d *Dataplane) Attached() map[int]Mode {
	modes := make(map[int]Mode, len(d.links))
	for ifindex, a := range d.links {
		modes[ifindex] = a.mode
	}
	return modes
}

// adoptLinks opens the pinned links and removes those of interfaces that are
// gone. They still run the earlier process's program: see Replace.
func (d *Dataplane) adoptLinks() error {
	if d.config.PinDir == "" {
		return nil
	}
	dir := filepath.Join(d.config.PinDir, linksDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pinned links: %w", err)
	}
	for _, entry := range entries {
		if err := d.adoptLink(filepath.Join(dir, entry.Name()), entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dataplane) adoptLink(path, name string) error {
	ifindex, mode, ok := parsePinName(name)
	if !ok {
		return nil
	}
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return fmt.Errorf("open pinned link %s: %w", name, err)
	}
	info, err := l.Info()
	if err != nil {
		return errors.Join(fmt.Errorf("read link %s: %w", name, err), l.Close())
	}
	if xdp := info.XDP(); xdp == nil || int(xdp.Ifindex) != ifindex {
		return errors.Join(l.Unpin(), l.Close())
	}
	d.links[ifindex] = &attachment{link: l, mode: mode}
	return nil
}

// Replace puts this process's program in place of the one that an earlier
// process left on the adopted interfaces, in one step each: no packet passes
// without a program. Call it when next hops and interfaces are set.
func (d *Dataplane) Replace() error {
	for ifindex, a := range d.links {
		if err := a.link.Update(d.program); err != nil {
			return fmt.Errorf("replace program on interface %d: %w", ifindex, err)
		}
	}
	return nil
}
