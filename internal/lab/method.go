// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
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

	// Nested is TUN in front of NAT, NestedDR is DR in front of it.
	Nested   Method = "nested"
	NestedDR Method = "nested-dr"
)

// ParseScenario reads what to show: the methods themselves, or the one that the
// director in front has.
func ParseScenario(scenario, method string) ([]Method, error) {
	methods, err := ParseMethods(method)
	switch {
	case scenario != "methods" && scenario != "nested":
		return nil, fmt.Errorf("scenario %q: not one of methods, nested", scenario)
	case err != nil || scenario == "methods":
		return methods, err
	case method == string(NAT):
		return nil, errors.New("scenario nested: the method in front is tun or dr, with nat all replies would come back there")
	case method == string(DR):
		return []Method{NestedDR}, nil
	}
	return []Method{Nested}, nil
}

// IsNested tells whether the director has directors behind it.
func (m Method) IsNested() bool { return m == Nested || m == NestedDR }

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
	case TUN, Nested:
		return ipvs.Tunnel
	case DR, NestedDR:
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
	case Nested:
		return "the director wraps requests for two inner directors, which rewrite addresses; replies come back through those"
	case NestedDR:
		return "the director gives requests the MAC address of two inner ones, which rewrite addresses; replies come back through those"
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
	case NestedDR:
		return "client > router > director > inner director > real server > inner director > router > client"
	case Nested:
		return "client > router > director > router > inner director > real server > inner director > router > client"
	}
	return "client > router > director > real server > director > router > client"
}

// port is where the real servers listen. Only NAT can change it on the way.
func (m Method) port() uint16 {
	if m == NAT || m.IsNested() {
		return 8080
	}
	return 80
}
