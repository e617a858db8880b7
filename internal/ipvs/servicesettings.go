// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"slices"
	"strings"
)

// ServiceSettings are what a service has beyond the kernel's IPVS. No command of
// ipvsadm shows or changes them; its zero value is what the kernel does.
type ServiceSettings struct {
	Timeouts Timeouts `json:"timeouts,omitzero"` // of its connections; those that are zero are the director's
	Removed  Removal  `json:"removed,omitempty"` // what becomes of connections whose real server is removed
}

// Removal is what becomes of connections whose real server is taken out of its
// service.
type Removal uint8

// The removals.
const (
	Silent Removal = 0 // as the kernel: their packets are dropped, unless expire_nodest_conn is set
	Reset  Removal = 1 // both ends are told: RST, or port unreachable
	Move   Removal = 2 // another real server takes over datagrams and clients that begin anew; the others are told
)

var removals = []string{Silent: "silent", Reset: "reset", Move: "move"}

// String returns the word that lvsx service set takes.
func (r Removal) String() string {
	if int(r) < len(removals) {
		return removals[r]
	}
	return fmt.Sprintf("Removal(%d)", uint8(r))
}

// MarshalText implements encoding.TextMarshaler.
func (r Removal) MarshalText() ([]byte, error) {
	return []byte(r.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Removal) UnmarshalText(text []byte) error {
	i := slices.Index(removals, string(text))
	if i < 0 {
		return fmt.Errorf("removal %q: not one of %s", text, strings.Join(removals, ", "))
	}
	*r = Removal(i)
	return nil
}

// String returns the options of lvsx service set, each after a space.
func (s ServiceSettings) String() string {
	var b strings.Builder
	for _, option := range []struct {
		name    string
		seconds uint32
	}{
		{"timeout-tcp", s.Timeouts.TCP}, {"timeout-fin", s.Timeouts.TCPFin}, {"timeout-udp", s.Timeouts.UDP},
	} {
		if option.seconds != 0 {
			fmt.Fprintf(&b, " --%s %d", option.name, option.seconds)
		}
	}
	if s.Removed != Silent {
		fmt.Fprintf(&b, " --removed %s", s.Removed)
	}
	return b.String()
}
