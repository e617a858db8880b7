// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Method is a forwarding method, by the name it has on the command line.
type Method string

// The methods, in the order in which they are shown.
const (
	NAT Method = "nat"
	TUN Method = "tun"
	DR  Method = "dr"
)

// ParseMethods reads a method's name, or "all".
func ParseMethods(name string) ([]Method, error) {
	switch m := Method(name); m {
	case NAT, TUN, DR:
		return []Method{m}, nil
	case "all":
		return []Method{NAT, TUN, DR}, nil
	}
	return nil, fmt.Errorf("method %q: not one of nat, tun, dr, all", name)
}

// forwarding is what ipvsadm is told.
func (m Method) forwarding() ipvs.Forwarding {
	switch m {
	case TUN:
		return ipvs.Tunnel
	case DR:
		return ipvs.Route
	}
	return ipvs.Masq
}

// bypasses tells whether replies go past the director.
func (m Method) bypasses() bool { return m != NAT }

// Title is the method's name in prose.
func (m Method) Title() string { return strings.ToUpper(string(m)) }

// idea is the method in one sentence.
func (m Method) idea() string {
	switch m {
	case TUN:
		return "the director wraps requests in IP; replies go straight to the client"
	case DR:
		return "the director changes the MAC address only; replies go straight to the client"
	}
	return "the director rewrites addresses both ways; replies come back through it"
}

// way is the path of a request and its reply.
func (m Method) way() string {
	switch m {
	case TUN:
		return "client > router > director > router > real server > router > client"
	case DR:
		return "client > router > director > real server > router > client"
	}
	return "client > router > director > real server > director > router > client"
}

// port is where the real servers listen. Only NAT can change it on the way.
func (m Method) port() uint16 {
	if m == NAT {
		return 8080
	}
	return 80
}
