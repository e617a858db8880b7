// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// VLAN is where a VLAN interface's frames are. The zero value is that of any other
// interface.
type VLAN struct {
	Port int   // the interface below all tags
	Tags []Tag // outermost first, two at most
}

// Tag is one VLAN tag.
type Tag struct {
	ID      uint16 // 1 to 4094
	Service bool   // 802.1ad, not 802.1Q
}

// at returns how the datapath has a VLAN whose frames are on a port.
func (v VLAN) at(port int) directorVlan {
	vlan := directorVlan{Port: uint32(port)}
	for i, tag := range v.Tags {
		vlan.Tags[i] = directorVlanBits(tag.ID)
		if tag.Service {
			vlan.Tags[i] |= directorVlanBitsVLAN_SERVICE
		}
	}
	return vlan
}

// setVLANs tells which tags are whose. In generic mode they are left to the kernel,
// whose hardware may have taken them off unseen: only frames that the program gets
// in the driver are looked up.
func (d *Dataplane) setVLANs(interfaces []Interface) error {
	receivers := receivers(interfaces)
	interfaceOf, vlanOf := make(map[directorVlan]uint32), make(map[uint32]directorVlan)
	for _, i := range interfaces {
		if i.VLAN.Port == 0 {
			continue
		}
		vlanOf[uint32(i.Index)] = i.VLAN.at(i.VLAN.Port)
		for _, port := range receivers[i.VLAN.Port] {
			interfaceOf[i.VLAN.at(port)] = uint32(i.Index)
		}
	}
	if err := replace(d.maps.Vlans, vlanOf); err != nil {
		return fmt.Errorf("tell VLANs: %w", err)
	}
	if err := replace(d.maps.VlanInterfaces, interfaceOf); err != nil {
		return fmt.Errorf("tell interfaces of VLANs: %w", err)
	}
	return nil
}

// receivers are, of each interface whose driver runs the program, those by which
// its frames come: itself, or what a bond is made of.
func receivers(interfaces []Interface) map[int][]int {
	found := make(map[int][]int)
	for _, i := range interfaces {
		if i.Mode == Native {
			found[i.Index] = append(found[i.Index], i.Index)
		}
	}
	for _, i := range interfaces {
		if len(found[i.Master]) > 0 {
			found[i.Master] = append(found[i.Master], i.Index)
		}
	}
	return found
}

// replace makes a map hold what is wanted. Packets pass meanwhile: what stays is
// not touched.
func replace[K, V comparable](m *ebpf.Map, wanted map[K]V) error {
	var (
		key  K
		was  V
		gone []K
	)
	entries := m.Iterate()
	for entries.Next(&key, &was) {
		if is, ok := wanted[key]; !ok || is != was {
			gone = append(gone, key)
		}
	}
	if err := entries.Err(); err != nil {
		return err
	}
	for _, key := range gone {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	for key, value := range wanted {
		if err := m.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}
