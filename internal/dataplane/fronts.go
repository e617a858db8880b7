// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// SetFronts says which directors send packets here in tunnels, to be balanced
// again, and to which UDP port if that is GUE. With none, nothing is taken out of
// tunnels.
func (d *Dataplane) SetFronts(fronts []netip.Addr, guePort uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	types := make(map[directorTunnelType]uint8)
	if len(fronts) > 0 {
		types = map[directorTunnelType]uint8{
			{Protocol: unix.IPPROTO_IPIP}:                                    1,
			{Protocol: unix.IPPROTO_IPV6}:                                    1,
			{Protocol: unix.IPPROTO_GRE}:                                     1,
			{Protocol: unix.IPPROTO_UDP, Port: bits.ReverseBytes16(guePort)}: 1,
		}
	}
	if err := fill(d.maps.TunnelTypes, types); err != nil {
		return fmt.Errorf("write types of tunnels: %w", err)
	}
	if err := fill(d.maps.Fronts, addressSet(fronts)); err != nil {
		return fmt.Errorf("write fronts: %w", err)
	}
	atomic.StoreUint32(&d.settings.Fronts, uint32(len(fronts)))
	return nil
}

// SetFrontSegments says how large TCP segments may be, of IPv4 and of IPv6, that
// clients send through fronts' tunnels; 0: any size. Answers of NAT real servers
// tell them.
func (d *Dataplane) SetFrontSegments(ipv4, ipv6 uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.FrontSegments = [2]uint16{ipv4, ipv6}
}

// Fronts returns the directors that packets in tunnels are taken from, sorted.
func (d *Dataplane) Fronts() ([]netip.Addr, error) {
	set, err := entries[[16]byte, uint16](d.maps.Fronts)
	if err != nil {
		return nil, fmt.Errorf("read fronts: %w", err)
	}
	var fronts []netip.Addr
	for key := range set {
		fronts = append(fronts, netip.AddrFrom16(key).Unmap())
	}
	slices.SortFunc(fronts, netip.Addr.Compare)
	return fronts, nil
}

// SetDIPs says which addresses are this machine's: fronts send their tunnels
// there.
func (d *Dataplane) SetDIPs(addresses []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := fill(d.maps.Dips, addressSet(addresses)); err != nil {
		return fmt.Errorf("write director's addresses: %w", err)
	}
	return nil
}

func addressSet(addresses []netip.Addr) map[[16]byte]uint16 {
	set := make(map[[16]byte]uint16, len(addresses))
	for _, a := range addresses {
		set[a.As16()] = 0
	}
	return set
}

// fill makes a hash map hold what is wanted. What it holds already is never
// missing in between.
func fill[K, V comparable](m *ebpf.Map, want map[K]V) error {
	have, err := entries[K, V](m)
	if err != nil {
		return err
	}
	for key, value := range want {
		if old, has := have[key]; !has || old != value {
			if err := m.Put(key, value); err != nil {
				return err
			}
		}
	}
	maps.DeleteFunc(have, func(key K, _ V) bool { _, wanted := want[key]; return wanted })
	for key := range have {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// entries returns what a hash map holds.
func entries[K, V comparable](m *ebpf.Map) (map[K]V, error) {
	all := make(map[K]V)
	var key K
	var value V
	each := m.Iterate()
	for each.Next(&key, &value) {
		all[key] = value
	}
	return all, each.Err()
}
