// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
)

// TunnelType is the kernel's IP_VS_CONN_F_TUNNEL_TYPE_*.
type TunnelType uint8

// The tunnel types, with the kernel's values.
const (
	IPIP TunnelType = 0
	GUE  TunnelType = 1
	GRE  TunnelType = 2
)

// String returns the name that ipvsadm's --tun-type takes.
func (t TunnelType) String() string {
	switch t {
	case IPIP:
		return "ipip"
	case GUE:
		return "gue"
	case GRE:
		return "gre"
	}
	return fmt.Sprintf("TunnelType(%d)", uint8(t))
}

// TunnelFlags are the kernel's IP_VS_TUNNEL_ENCAP_FLAG_*.
type TunnelFlags uint16

// The checksum choices of GUE and GRE tunnels.
const (
	NoChecksum     TunnelFlags = 0
	Checksum       TunnelFlags = 1
	RemoteChecksum TunnelFlags = 2
)

// Destination is a real server's entry in one service. Within a service its
// address and port (RIP) name it.
type Destination struct {
	RIP         netip.AddrPort `json:"rip"` // port 0: the port that the client asked for
	Forwarding  Forwarding     `json:"forwarding"`
	Weight      int32          `json:"weight"`
	Upper       uint32         `json:"upper,omitempty"` // connections at which the destination is full; 0: never
	Lower       uint32         `json:"lower,omitempty"` // connections below which it is free again; 0: three quarters of Upper
	TunnelType  TunnelType     `json:"tunnelType,omitempty"`
	TunnelPort  uint16         `json:"tunnelPort,omitempty"`
	TunnelFlags TunnelFlags    `json:"tunnelFlags,omitempty"`
}

// Drained tells whether the destination keeps its connections but is given no
// new ones.
func (d Destination) Drained() bool {
	return d.Weight == 0
}
