// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"strings"
)

// ServiceSettings are what a service has beyond the kernel's IPVS. No command of
// ipvsadm shows or changes them; its zero value is what the kernel does.
type ServiceSettings struct {
	Timeouts Timeouts `json:"timeouts,omitzero"` // of its connections; those that are zero are the director's
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
	return b.String()
}
