// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Key names a virtual service: an address, port and protocol, or a firewall
// mark. It is comparable.
type Key struct {
	Protocol Protocol       `json:"protocol,omitempty"`
	VIP      netip.AddrPort `json:"vip,omitzero"`
	Mark     uint32         `json:"mark,omitempty"` // nonzero: the service of this firewall mark; VIP then only tells the family
}

// String returns the key as ipvsadm's option for it: "-t 192.0.2.1:80".
func (k Key) String() string {
	if k.Mark != 0 {
		if k.IPv6() {
			return fmt.Sprintf("-f %d -6", k.Mark)
		}
		return fmt.Sprintf("-f %d", k.Mark)
	}
	switch k.Protocol {
	case UDP:
		return "-u " + k.VIP.String()
	case SCTP:
		return "--sctp-service " + k.VIP.String()
	}
	return "-t " + k.VIP.String()
}

// MarkKey returns the key of the service of a firewall mark, in the one form in
// which such keys compare equal.
func MarkKey(mark uint32, ipv6 bool) Key {
	addr := netip.IPv4Unspecified()
	if ipv6 {
		addr = netip.IPv6Unspecified()
	}
	return Key{Mark: mark, VIP: netip.AddrPortFrom(addr, 0)}
}

// Canonical returns the form of the key that a table's index holds: of a mark's
// key nothing but the family counts besides the mark.
func (k Key) Canonical() Key {
	if k.Mark == 0 {
		return k
	}
	return MarkKey(k.Mark, k.IPv6())
}

// IPv6 tells whether the service is of the IPv6 family.
func (k Key) IPv6() bool {
	return k.VIP.Addr().Is6()
}

// ServiceFlags are the kernel's IP_VS_SVC_F_* bits that a user may set.
type ServiceFlags uint32

// The flags, with the kernel's values. What SchedFlag1 to 3 mean is the
// scheduler's affair: sh-fallback and mh-fallback are 1, sh-port and mh-port 2.
const (
	Persistent ServiceFlags = 0x1
	OnePacket  ServiceFlags = 0x4
	SchedFlag1 ServiceFlags = 0x8
	SchedFlag2 ServiceFlags = 0x10
	SchedFlag3 ServiceFlags = 0x20
)

// Service is one virtual service and its destinations.
type Service struct {
	Key
	Scheduler    string          `json:"scheduler"`
	Flags        ServiceFlags    `json:"flags,omitempty"`
	Timeout      uint32          `json:"timeout,omitempty"`      // of persistence, in seconds; 0 without persistence
	Netmask      uint32          `json:"netmask,omitempty"`      // of persistence: IPv4 a mask in host order, IPv6 a prefix length; 0 without persistence
	Engine       string          `json:"engine,omitempty"`       // persistence engine
	Settings     ServiceSettings `json:"settings,omitzero"`      // changed by SetService alone
	Destinations []Destination   `json:"destinations,omitempty"` // the kernel's order: newest first
}

// SIP is the persistence engine that keeps the datagrams of a call together.
const SIP = "sip"

// Masks that keep every client apart.
const (
	FullMask   uint32 = 0xffffffff // IPv4
	FullPrefix uint32 = 128        // IPv6
)

// MaskText returns the netmask as ipvsadm's -M takes it: dotted for IPv4, a
// prefix length for IPv6, empty for the full mask, which is the default.
func (s Service) MaskText() string {
	if s.IPv6() {
		if s.Netmask == FullPrefix {
			return ""
		}
		return fmt.Sprint(s.Netmask)
	}
	if s.Netmask == FullMask {
		return ""
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], s.Netmask)
	return netip.AddrFrom4(mask).String()
}
