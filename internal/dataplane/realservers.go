// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

const natICMPSend = "nat_icmp_send"

// listRealServers tells the datapath of all NAT real servers that are in
// service, or of none while nobody asks.
func (d *Dataplane) listRealServers() error {
	var key directorServiceKey
	for d.maps.RealServers.NextKey(nil, &key) == nil {
		if err := d.maps.RealServers.Delete(key); err != nil {
			return fmt.Errorf("forget real server %s: %w", fromAddrPort(key.Vip, key.Port), err)
		}
	}
	for _, s := range d.byKey {
		for _, dest := range s.dests {
			if err := d.enterRealServer(dest); err != nil {
				return err
			}
		}
	}
	return nil
}

// listRealServer tells the datapath of a destination that changed. What it
// cannot be told of is no more than an ICMP error less.
func (d *Dataplane) listRealServer(dest *destination) {
	_ = d.enterRealServer(dest)
}

// enterRealServer enters whichever destination has the same address, port and
// protocol as this one and is NAT's and in service, or takes the entry out.
func (d *Dataplane) enterRealServer(dest *destination) error {
	if !d.isOn(natICMPSend) {
		return nil
	}
	key := realServerKey(dest)
	for _, same := range d.byRIP[dest.rip.Addr()] {
		if realServerKey(same) != key || !d.isNAT(same) {
			continue
		}
		if err := d.maps.RealServers.Put(key, same.index); err != nil {
			return fmt.Errorf("enter real server %s: %w", dest.rip, err)
		}
		return nil
	}
	if err := d.maps.RealServers.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove real server %s: %w", dest.rip, err)
	}
	return nil
}

func (d *Dataplane) isNAT(dest *destination) bool {
	entry := &d.dests.at[dest.index]
	return entry.Flags&directorDestFlagsDEST_AVAILABLE != 0 && entry.Forwarding == directorForwardingFORWARDING_MASQ
}

func realServerKey(dest *destination) directorServiceKey {
	return directorServiceKey{
		Vip:   toAddr(dest.rip.Addr()),
		Port:  networkOrder(dest.rip.Port()),
		Proto: uint8(dest.service.key.Protocol),
	}
}
