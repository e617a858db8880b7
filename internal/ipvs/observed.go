// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"
	"time"
)

// Stats are counters since creation or the last Zero. Bytes are of the IP
// packet, without link headers and tunnel headers. "In" is from clients to
// real servers.
type Stats struct {
	Conns    uint64 `json:"conns"`
	InPkts   uint64 `json:"inPackets"`
	OutPkts  uint64 `json:"outPackets"`
	InBytes  uint64 `json:"inBytes"`
	OutBytes uint64 `json:"outBytes"`
}

// Add returns the sums of a and b.
func (s Stats) Add(o Stats) Stats {
	return Stats{s.Conns + o.Conns, s.InPkts + o.InPkts, s.OutPkts + o.OutPkts, s.InBytes + o.InBytes, s.OutBytes + o.OutBytes}
}

// Sub returns what s counted since o.
func (s Stats) Sub(o Stats) Stats {
	return Stats{s.Conns - o.Conns, s.InPkts - o.InPkts, s.OutPkts - o.OutPkts, s.InBytes - o.InBytes, s.OutBytes - o.OutBytes}
}

// DestinationStatus is a destination with what was observed of it.
type DestinationStatus struct {
	Destination
	Active     uint32 `json:"activeConns"`
	Inactive   uint32 `json:"inactConns"`
	Persistent uint32 `json:"persistConns"`
	Stats      Stats  `json:"stats"`
	Rate       *Stats `json:"rate,omitempty"` // Stats per second; nil where nobody estimates it
}

// ServiceStatus is a service with what was observed of it. Its Destinations,
// in the kernel's order (newest first), stand in place of the service's own,
// which are empty.
type ServiceStatus struct {
	Service
	Stats        Stats               `json:"stats"`
	Rate         *Stats              `json:"rate,omitempty"` // Stats per second; nil where nobody estimates it
	Destinations []DestinationStatus `json:"destinations"`
}

// Conn is one connection, or a persistence template.
type Conn struct {
	Protocol Protocol       `json:"protocol"`
	CIP      netip.AddrPort `json:"cip"`
	VIP      netip.AddrPort `json:"vip"`
	RIP      netip.AddrPort `json:"rip"`
	State    string         `json:"state"` // as ipvsadm prints it: ESTABLISHED, UDP, ...
	Expires  time.Duration  `json:"expiresNs"`
	Template bool           `json:"template,omitempty"` // of persistence: what follows connections from CIP

	// Of a template that a persistence engine made: the engine, and what it goes by.
	Engine     string `json:"engine,omitempty"`
	EngineData string `json:"engineData,omitempty"`
}

// Killed is how many connections were killed, or would be.
type Killed struct {
	Reset     int `json:"reset"`     // TCP: both ends are told
	Forgotten int `json:"forgotten"` // other protocols
}
