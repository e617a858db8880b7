// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// clampPin begins the names of pinned attachments of the clamp; the
// interface's index ends them.
const clampPin = "clamp-"

// CanClamp tells whether the kernel can run the clamp on what it sends (tcx,
// since Linux 6.6).
func CanClamp() bool {
	const tcx = 6<<16 | 6<<8
	version, err := features.LinuxVersionCode()
	return err == nil && version >= tcx
}

// SetLargest says how many bytes TCP may put into one segment to a VIP; 0: as
// many as it likes. It fails with ebpf.ErrKeyNotExist for what is not in VIPs.
func (d *Decapsulator) SetLargest(vip netip.Addr, bytes int) error {
	value := uint16(min(bytes, math.MaxUint16))
	if err := d.sets[VIPs].Update(vip.As16(), value, ebpf.UpdateExist); err != nil {
		return fmt.Errorf("clamp segments to %s: %w", vip, err)
	}
	return nil
}

// Largest returns what SetLargest said, 0 for what is no VIP.
func (d *Decapsulator) Largest(vip netip.Addr) (bytes int, err error) {
	var value uint16
	err = d.sets[VIPs].Lookup(vip.As16(), &value)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("read segments to %s: %w", vip, err)
	}
	return int(value), nil
}

// AttachClamp lets the clamp change what the interface sends, until
// DetachClamp or Remove: the MSS that a VIP tells to its clients becomes no
// larger than SetLargest said. A running program is replaced.
func (d *Decapsulator) AttachClamp(ifindex int) error {
	pin := d.clampPinOf(ifindex)
	if pinned, err := link.LoadPinnedLink(pin, nil); err == nil {
		defer pinned.Close()
		if tcxIndex(pinned) == ifindex {
			return pinned.Update(d.clamp)
		}
		if err := pinned.Unpin(); err != nil {
			return fmt.Errorf("unpin attachment: %w", err)
		}
	}
	attached, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: d.clamp, Attach: ebpf.AttachTCXEgress})
	if err != nil {
		return fmt.Errorf("attach clamp: %w", err)
	}
	defer attached.Close()
	if err := attached.Pin(pin); err != nil {
		return fmt.Errorf("pin attachment: %w", err)
	}
	return nil
}

// DetachClamp takes the clamp off an interface, where it need not be.
func (d *Decapsulator) DetachClamp(ifindex int) error {
	err := os.Remove(d.clampPinOf(ifindex))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("detach clamp: %w", err)
	}
	return nil
}

// IsClamped tells whether the clamp is attached to an interface.
func (d *Decapsulator) IsClamped(ifindex int) (bool, error) {
	pinned, err := link.LoadPinnedLink(d.clampPinOf(ifindex), nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open attachment: %w", err)
	}
	defer pinned.Close()
	return tcxIndex(pinned) == ifindex, nil
}

// tcxIndex returns the interface of an attachment, 0 if that is gone.
func tcxIndex(l link.Link) int {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return 0
	}
	return int(info.TCX().Ifindex)
}

func (d *Decapsulator) clampPinOf(ifindex int) string {
	return filepath.Join(d.dir, clampPin+strconv.Itoa(ifindex))
}
