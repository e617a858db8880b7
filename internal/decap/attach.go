// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// linkPin begins the names of pinned attachments; the interface's index ends
// them.
const linkPin = "link-"

// Attach lets the decapsulator see what the interface receives, until Detach
// or Remove. With native it runs in the driver if that can, otherwise and
// else before the kernel's stack. If it is attached already, the running
// program is replaced by the one that was loaded, and no packet is lost.
func (d *Decapsulator) Attach(ifindex int, native bool) error {
	replaced, err := d.replace(ifindex)
	if err != nil || replaced {
		return err
	}
	attached, err := d.attachBest(ifindex, native)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("attach decapsulator: the interface runs another XDP program (`ip link show` names it): %w", err)
	}
	if err != nil {
		return fmt.Errorf("attach decapsulator: %w", err)
	}
	defer attached.Close()
	if err := attached.Pin(d.pinOf(ifindex)); err != nil {
		return fmt.Errorf("pin attachment: %w", err)
	}
	return nil
}

func (d *Decapsulator) attachBest(ifindex int, native bool) (link.Link, error) {
	options := link.XDPOptions{Program: d.program, Interface: ifindex, Flags: link.XDPDriverMode}
	if native {
		attached, err := link.AttachXDP(options)
		if err == nil || errors.Is(err, unix.EBUSY) {
			return attached, err
		}
	}
	options.Flags = link.XDPGenericMode
	return link.AttachXDP(options)
}

// replace updates a living attachment, and unpins one whose interface is gone.
func (d *Decapsulator) replace(ifindex int) (replaced bool, err error) {
	pinned, err := link.LoadPinnedLink(d.pinOf(ifindex), nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open attachment: %w", err)
	}
	defer pinned.Close()
	if !isAttached(pinned, ifindex) {
		return false, pinned.Unpin()
	}
	if err := pinned.Update(d.program); err != nil {
		return false, fmt.Errorf("replace decapsulator: %w", err)
	}
	return true, nil
}

// Detach takes the decapsulator off an interface, where it need not be.
func (d *Decapsulator) Detach(ifindex int) error {
	err := os.Remove(d.pinOf(ifindex))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("detach decapsulator: %w", err)
	}
	return nil
}

// Attached returns the indices of the interfaces that the decapsulator is
// attached to.
func (d *Decapsulator) Attached() ([]int, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	var indices []int
	for _, entry := range entries {
		digits, found := strings.CutPrefix(entry.Name(), linkPin)
		ifindex, err := strconv.Atoi(digits)
		if !found || err != nil {
			continue
		}
		pinned, err := link.LoadPinnedLink(d.pinOf(ifindex), nil)
		if err != nil {
			return nil, fmt.Errorf("open attachment: %w", err)
		}
		if isAttached(pinned, ifindex) {
			indices = append(indices, ifindex)
		}
		pinned.Close()
	}
	return indices, nil
}

// isAttached tells a living link from one that outlived its interface: the
// kernel then gives the index as 0.
func isAttached(l link.Link, ifindex int) bool {
	info, err := l.Info()
	return err == nil && info.XDP() != nil && int(info.XDP().Ifindex) == ifindex
}

func (d *Decapsulator) pinOf(ifindex int) string {
	return filepath.Join(d.dir, linkPin+strconv.Itoa(ifindex))
}
