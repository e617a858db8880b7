// SPDX-License-Identifier: Apache-2.0

// Package ipvs holds the words of Linux Virtual Server and the rules between
// them: what a virtual service, a destination and a change are, and which
// changes a table accepts. It knows nothing of packets, maps, sockets or text
// layouts, and imports only the standard library.
//
// A director owns a virtual IP (VIP) and spreads the connections of clients
// (CIP) over real servers (RIP). Each real server's share in one virtual
// service is a destination, reached by one of three forwarding methods.
package ipvs

import (
	"fmt"
	"strings"
)

// Protocol is an IP protocol number that virtual services may have.
type Protocol uint8

// The protocols of virtual services; the values are IANA's.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Protocols are those that services can have.
var Protocols = [...]Protocol{TCP, UDP, SCTP}

// String returns the name that ipvsadm prints: TCP, UDP, SCTP, and IP for 0,
// the protocol of a firewall mark's persistence templates.
func (p Protocol) String() string {
	switch p {
	case 0:
		return "IP"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("IP%d", uint8(p))
}

// MarshalText implements encoding.TextMarshaler with the lower-case name.
func (p Protocol) MarshalText() ([]byte, error) {
	return p.AppendText(nil)
}

// AppendText implements encoding.TextAppender.
func (p Protocol) AppendText(b []byte) ([]byte, error) {
	return append(b, strings.ToLower(p.String())...), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Protocol) UnmarshalText(text []byte) error {
	for _, known := range []Protocol{0, TCP, UDP, SCTP} {
		if strings.EqualFold(string(text), known.String()) {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("protocol %q: not one of tcp, udp, sctp", text)
}

// Check refuses what is no protocol of services, nor 0.
func (p Protocol) Check() error {
	switch p {
	case 0, TCP, UDP, SCTP:
		return nil
	}
	return fmt.Errorf("protocol %q: not one of tcp, udp, sctp", p)
}

// Forwarding is how a packet reaches its real server. The values are those of
// the kernel's IP_VS_CONN_F_FWD_MASK, which also order ipvsadm's options.
type Forwarding uint8

// The forwarding methods. The kernel's 1 (local node) is found by routing,
// never configured.
const (
	Masq   Forwarding = 0 // NAT: rewrite addresses and ports, both ways
	Tunnel Forwarding = 2 // TUN: wrap in IP, replies bypass the director
	Route  Forwarding = 3 // DR: new MAC address only, replies bypass the director
)

// String returns the name in ipvsadm's listing.
func (f Forwarding) String() string {
	switch f {
	case Masq:
		return "Masq"
	case Tunnel:
		return "Tunnel"
	case Route:
		return "Route"
	}
	return fmt.Sprintf("Forwarding(%d)", uint8(f))
}

// Option returns the ipvsadm option that asks for the method.
func (f Forwarding) Option() string {
	switch f {
	case Masq:
		return "-m"
	case Tunnel:
		return "-i"
	}
	return "-g"
}

// MarshalText implements encoding.TextMarshaler with the lower-case name.
func (f Forwarding) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(f.String())), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Forwarding) UnmarshalText(text []byte) error {
	for _, known := range []Forwarding{Masq, Tunnel, Route} {
		if strings.EqualFold(string(text), known.String()) {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("forwarding method %q: not one of masq, tunnel, route", text)
}

// Check refuses what is no forwarding method that can be configured.
func (f Forwarding) Check() error {
	switch f {
	case Masq, Tunnel, Route:
		return nil
	}
	return fmt.Errorf("forwarding method %q: not one of masq, tunnel, route", f)
}
