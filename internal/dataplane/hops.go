// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// NextHop is the director's way to a real server. The zero value is one that
// is not resolved.
type NextHop struct {
	Interface int              // to send from
	Source    net.HardwareAddr // of that interface
	Neighbour net.HardwareAddr // the real server, or the gateway to it
	MTU       int              // of the route, without tunnel header
	Address   netip.Addr       // what the director calls itself on this way, for tunnels
	Local     bool             // the address is the director's own
	NoRoute   bool
}

func (h NextHop) isResolved() bool {
	return len(h.Neighbour) == 6 && len(h.Source) == 6 && !h.Local && !h.NoRoute
}

// RealServers returns the addresses of all destinations, removed ones that have
// connections included: those whose next hops the datapath wants to know.
func (d *Dataplane) RealServers() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	addresses := make([]netip.Addr, 0, len(d.byRIP))
	for address := range d.byRIP {
		addresses = append(addresses, address)
	}
	return addresses
}

// SetNextHop tells the way to a real server, for its destinations now and to
// come.
func (d *Dataplane) SetNextHop(rip netip.Addr, hop NextHop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hops[rip] = hop
	for _, dest := range d.byRIP[rip] {
		d.setHop(dest, hop)
	}
}

// RemindNextHop tells a way that was told before, in case that nothing of the real
// server was remembered since.
func (d *Dataplane) RemindNextHop(rip netip.Addr, hop NextHop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, remembered := d.hops[rip]; !remembered {
		d.hops[rip] = hop
	}
}

// lookAgain sets all next hops anew: it depends on the interfaces whether they are plain.
func (d *Dataplane) lookAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for rip, destinations := range d.byRIP {
		hop, known := d.hops[rip]
		if !known {
			continue
		}
		for _, dest := range destinations {
			d.setHop(dest, hop)
		}
	}
}

func (d *Dataplane) setHop(dest *destination, hop NextHop) {
	entry := &d.dests.at[dest.index]
	if isLocal(entry) != hop.Local {
		d.countLocal(map[bool]int{true: 1, false: -1}[hop.Local])
	}
	flags := withFlag(entry.Flags, directorDestFlagsDEST_LOCAL, hop.Local)
	flags = withFlag(flags, directorDestFlagsDEST_NO_ROUTE, hop.NoRoute)
	entry.Flags = withFlag(flags, directorDestFlagsDEST_NO_HOP, !hop.isResolved() || !d.isInterface(hop.Interface))
	entry.Mtu = uint16(min(hop.MTU, math.MaxUint16))
	if hop.Address.IsValid() {
		entry.TunnelSource = toAddr(hop.Address)
	}
	setFrame(&entry.Next, hop)
}

// setFrame writes the 16 bytes in two halves. The first holds the neighbour's
// address: where only that changes, no packet sees a mixture.
func setFrame(to *directorHop, hop NextHop) {
	var frame [16]byte
	if hop.isResolved() {
		copy(frame[0:], hop.Neighbour)
		copy(frame[6:], hop.Source)
		binary.NativeEndian.PutUint32(frame[12:], uint32(hop.Interface))
	}
	halves := (*[2]uint64)(unsafe.Pointer(to))
	atomic.StoreUint64(&halves[0], binary.NativeEndian.Uint64(frame[:8]))
	atomic.StoreUint64(&halves[1], binary.NativeEndian.Uint64(frame[8:]))
}

// withFlag returns flags with one of them, or without it.
func withFlag(flags, flag directorDestFlags, is bool) directorDestFlags {
	if is {
		return flags | flag
	}
	return flags &^ flag
}
