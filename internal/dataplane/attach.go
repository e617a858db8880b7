// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where the kernel runs the program on an interface.
type Mode string

// The modes.
const (
	Native  Mode = "native"  // in the driver
	Generic Mode = "generic" // in the stack, on any interface, slower
)

// attachment is what runs on one interface.
type attachment struct {
	link   link.Link
	mode   Mode
	behind link.Link // the tc program that sends what generic XDP hands over; nil: there is none
}

const linksDir = "links"

// pinName holds interface and mode, which the kernel does not tell of a link.
func pinName(ifindex int, mode Mode) string {
	return fmt.Sprintf("%d-%s", ifindex, mode)
}

func parsePinName(name string) (ifindex int, mode Mode, ok bool) {
	for _, mode := range []Mode{Native, Generic, behind, egress, giveBack} {
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
		if a.mode == mode && a.behind != nil {
			return nil
		}
		if a.mode == mode {
			return d.attachBehind(ifindex)
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
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("attach %s XDP to interface %d: it runs another XDP program (`ip link show` names it): %w", mode, ifindex, err)
	}
	if err != nil {
		return fmt.Errorf("attach %s XDP to interface %d: %w", mode, ifindex, err)
	}
	if err := d.pinLink(l, pinName(ifindex, mode)); err != nil {
		return errors.Join(err, l.Close())
	}
	d.links[ifindex] = &attachment{link: l, mode: mode}
	return d.attachBehind(ifindex)
}

// hasTCX tells whether tc programs can be attached by links.
func hasTCX() (bool, error) {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return false, fmt.Errorf("read kernel's version: %w", err)
	}
	return version >= 6<<16|6<<8, nil
}

// behind names the pinned links of the tc program.
const behind Mode = "behind"

// attachBehind puts the tc program behind XDP, where the kernel has tcx (Linux
// 6.6). Without it XDP sends by itself, but nothing that is above the MTU,
// merged by generic XDP or to be fragmented.
func (d *Dataplane) attachBehind(ifindex int) error {
	if d.sender == nil {
		return nil
	}
	l, err := d.attachTCX(ifindex, behind, d.sender, ebpf.AttachTCXIngress)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return nil
	}
	if err != nil {
		return err
	}
	d.links[ifindex].behind = l
	return nil
}

// HandsOver tells whether merged packets that arrive on an interface can be
// sent on.
func (d *Dataplane) HandsOver(ifindex int) bool {
	a, ok := d.links[ifindex]
	return ok && a.mode == Generic && a.behind != nil
}

// splits tells whether packets that arrive on an interface can be fragmented.
func (d *Dataplane) splits(ifindex int) bool {
	a, ok := d.links[ifindex]
	return ok && a.behind != nil
}

func (d *Dataplane) pinLink(l link.Link, name string) error {
	if d.config.PinDir == "" {
		return nil
	}
	dir := filepath.Join(d.config.PinDir, linksDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	if err := l.Pin(filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("pin link %s: %w", name, err)
	}
	return nil
}

// Detach takes the program off an interface, also one that is gone.
func (d *Dataplane) Detach(ifindex int) error {
	if err := d.detachLocal(ifindex); err != nil {
		return err
	}
	a, ok := d.links[ifindex]
	if !ok {
		return nil
	}
	delete(d.links, ifindex)
	// XDP first: what it hands over must still be sent.
	for _, l := range []link.Link{a.link, a.behind} {
		if err := d.detachLink(l); err != nil {
			return fmt.Errorf("detach from interface %d: %w", ifindex, err)
		}
	}
	return nil
}

func (d *Dataplane) detachLink(l link.Link) error {
	if l == nil {
		return nil
	}
	var unpin error
	if d.config.PinDir != "" {
		unpin = l.Unpin()
	}
	return errors.Join(unpin, l.Close())
}

// Attached returns the interfaces that the program runs on, but for its own.
func (d *Dataplane) Attached() map[int]Mode {
	modes := make(map[int]Mode, len(d.links))
	for ifindex, a := range d.links {
		if ifindex != d.local.ifindex {
			modes[ifindex] = a.mode
		}
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
	for _, behindOnes := range []bool{false, true} {
		for _, entry := range entries {
			ifindex, mode, ok := parsePinName(entry.Name())
			if !ok || (mode == behind) != behindOnes {
				continue
			}
			if err := d.adoptLink(filepath.Join(dir, entry.Name()), ifindex, mode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dataplane) adoptLink(path string, ifindex int, mode Mode) error {
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return fmt.Errorf("open pinned link %s: %w", path, err)
	}
	at, err := interfaceOf(l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	a, attached := d.links[ifindex]
	switch {
	case at != ifindex, mode == behind && !attached:
		return errors.Join(l.Unpin(), l.Close())
	case mode == egress:
		d.local.egress[ifindex] = l
	case mode == giveBack:
		d.local.giveBack, d.local.ifindex = l, ifindex
	case mode == behind:
		a.behind = l
	default:
		d.links[ifindex] = &attachment{link: l, mode: mode}
	}
	return nil
}

// interfaceOf returns the interface that a link is on, 0 if that is gone.
func interfaceOf(l link.Link) (int, error) {
	info, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("read link: %w", err)
	}
	if xdp := info.XDP(); xdp != nil {
		return int(xdp.Ifindex), nil
	}
	if tcx := info.TCX(); tcx != nil {
		return int(tcx.Ifindex), nil
	}
	return 0, nil
}

// Replace puts this process's program in place of the one that an earlier
// process left on the adopted interfaces, in one step each: no packet passes
// without a program. Call it when next hops and interfaces are set.
func (d *Dataplane) Replace() error {
	for ifindex, a := range d.links {
		if a.behind != nil && d.sender != nil {
			if err := a.behind.Update(d.sender); err != nil {
				return fmt.Errorf("replace program behind XDP on interface %d: %w", ifindex, err)
			}
		}
		if err := a.link.Update(d.program); err != nil {
			return fmt.Errorf("replace program on interface %d: %w", ifindex, err)
		}
	}
	if err := d.replaceLocal(); err != nil {
		return err
	}
	return d.forgetPrograms()
}
