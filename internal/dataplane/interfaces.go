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
		atomic.StoreUint32(&at.Flags, uint32(d.flagsOf(i)))
		if err := d.setPort(slot, i); err != nil {
			return err
		}
		atomic.StoreUint32(&at.Ifindex, uint32(i.Index))
	}
	for slot := range slots {
		if at := &d.settings.Interfaces[slot]; at.Ifindex != 0 && !known[slot] {
			atomic.StoreUint32(&at.Ifindex, 0)
			if err := d.removePort(slot); err != nil {
				return err
			}
		}
	}
	own := uint32(d.Own())
	if own != 0 && d.settings.Interfaces[own%slots].Ifindex != own {
		own = 0
	}
	atomic.StoreUint32(&d.settings.LocalIfindex, own)
	d.lookAgain()
	return nil
}

// setPort lets an interface send. By a VLAN's XDP cannot: frames leave by the port
// below with its tags on.
func (d *Dataplane) setPort(slot uint32, i Interface) error {
	if i.VLAN.Port != 0 {
		return d.removePort(slot)
	}
	if err := d.maps.Ports.Put(slot, uint32(i.Index)); err != nil {
		return fmt.Errorf("let interface %d send: %w", i.Index, err)
	}
	return nil
}

func (d *Dataplane) removePort(slot uint32) error {
	if err := d.maps.Ports.Delete(slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("stop an interface sending: %w", err)
	}
	return nil
}

// isInterface tells whether the datapath was told of an interface.
func (d *Dataplane) isInterface(index int) bool {
	return atomic.LoadUint32(&d.settings.Interfaces[index%len(d.settings.Interfaces)].Ifindex) == uint32(index)
}

// flagsOf tells what an interface is to the datapath.
func (d *Dataplane) flagsOf(i Interface) (flags directorInterfaceFlags) {
	if i.Mode == Generic {
		flags |= directorInterfaceFlagsINTERFACE_GENERIC
	}
	if own := d.Own(); own != 0 && own == i.Index {
		flags |= directorInterfaceFlagsINTERFACE_GENERIC | directorInterfaceFlagsINTERFACE_LOCAL
	}
	if d.HandsOver(i.Index) {
		flags |= directorInterfaceFlagsINTERFACE_HANDS_OVER
	}
	if d.splits(i.Index) || d.splits(i.VLAN.Port) || d.splits(i.Master) {
		flags |= directorInterfaceFlagsINTERFACE_SPLITS
	}
	return flags
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
