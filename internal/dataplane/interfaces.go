// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// Interface is what the datapath must know of one that it receives on or
// sends from.
type Interface struct {
	Index  int
	MAC    net.HardwareAddr
	MTU    int
	Mode   Mode // as attached; empty: it only sends, or is a VLAN of a port that is attached
	VLAN   VLAN
	Master int // the bond that it is a part of, 0: of none
}

// SetInterfaces replaces all that the datapath knows of interfaces.
func (d *Dataplane) SetInterfaces(interfaces []Interface) error {
	if err := d.setVLANs(interfaces); err != nil {
		return err
	}
	slots := uint32(len(d.settings.Interfaces))
	known := make(map[uint32]bool)
	for _, i := range interfaces {
		slot := uint32(i.Index) % slots
		if known[slot] {
			return fmt.Errorf("set interface %d: its number and another's agree modulo %d; leave one out with --interface", i.Index, slots)
		}
		known[slot] = true
		at := &d.settings.Interfaces[slot]
		copy(at.Mac[:], i.MAC)
		at.Mtu = uint16(min(i.MTU, math.MaxUint16))
		at.Flags = 0
		if i.Mode == Generic {
			at.Flags = uint32(directorInterfaceFlagsINTERFACE_GENERIC)
		}
		if own := d.Own(); own != 0 && own == i.Index {
			at.Flags = uint32(directorInterfaceFlagsINTERFACE_GENERIC | directorInterfaceFlagsINTERFACE_LOCAL)
		}
		if d.HandsOver(i.Index) {
			at.Flags |= uint32(directorInterfaceFlagsINTERFACE_HANDS_OVER)
		}
		if d.splits(i.Index) || d.splits(i.VLAN.Port) || d.splits(i.Master) {
			at.Flags |= uint32(directorInterfaceFlagsINTERFACE_SPLITS)
		}
		atomic.StoreUint32(&at.Ifindex, uint32(i.Index))
		if err := d.setPort(i); err != nil {
			return err
		}
	}
	for slot := range slots {
		if at := &d.settings.Interfaces[slot]; at.Ifindex != 0 && !known[slot] {
			if err := d.removePort(at.Ifindex); err != nil {
				return err
			}
			atomic.StoreUint32(&at.Ifindex, 0)
		}
	}
	own := uint32(d.Own())
	if own != 0 && d.settings.Interfaces[own%slots].Ifindex != own {
		own = 0
	}
	atomic.StoreUint32(&d.settings.LocalIfindex, own)
	return nil
}

// setPort lets an interface send. By a VLAN's XDP cannot: frames leave by the port
// below with its tags on.
func (d *Dataplane) setPort(i Interface) error {
	if i.VLAN.Port != 0 {
		return d.removePort(uint32(i.Index))
	}
	if err := d.maps.Ports.Put(uint32(i.Index), uint32(i.Index)); err != nil {
		return fmt.Errorf("let interface %d send: %w", i.Index, err)
	}
	return nil
}

func (d *Dataplane) removePort(ifindex uint32) error {
	if err := d.maps.Ports.Delete(ifindex); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("stop interface %d sending: %w", ifindex, err)
	}
	return nil
}

// ForgetClientHops makes connections look up the way to their clients anew. To
// be called after any change of routes or neighbours.
func (d *Dataplane) ForgetClientHops() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.Epoch++
	if d.settings.Epoch == 0 {
		d.settings.Epoch = 1
	}
}
