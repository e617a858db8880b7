// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"strings"
)

// ConnFilter chooses connections. Its zero value, and any zero field, chooses
// all.
type ConnFilter struct {
	Client Endpoint
	VIP    Endpoint
	Server Endpoint
	State  string // as ipvsadm prints it, in any case
}

// Match tells whether the filter chooses a connection.
func (f ConnFilter) Match(c Conn) bool {
	return f.Client.match(c.CIP) && f.VIP.match(c.VIP) && f.Server.match(c.RIP) &&
		(f.State == "" || strings.EqualFold(f.State, c.State))
}

// Endpoint chooses addresses and ports: those of a network, at one port or any.
type Endpoint struct {
	Network netip.Prefix // invalid: any address
	Port    uint16       // 0: any port
}

// ParseEndpoint reads an address, a network (192.0.2.0/24), or an address with
// a port (192.0.2.80:80). The empty text is any endpoint.
func ParseEndpoint(text string) (Endpoint, error) {
	if text == "" {
		return Endpoint{}, nil
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		return Endpoint{Network: network}, nil
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return Endpoint{Network: host(address)}, nil
	}
	if both, err := netip.ParseAddrPort(text); err == nil {
		return Endpoint{Network: host(both.Addr()), Port: both.Port()}, nil
	}
	return Endpoint{}, fmt.Errorf("%q: not an address, a network or an address with a port", text)
}

func host(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, a.BitLen())
}

// String returns what ParseEndpoint reads.
func (e Endpoint) String() string {
	switch {
	case !e.Network.IsValid():
		return ""
	case e.Port != 0:
		return netip.AddrPortFrom(e.Network.Addr(), e.Port).String()
	}
	return e.Network.String()
}

func (e Endpoint) match(a netip.AddrPort) bool {
	return (!e.Network.IsValid() || e.Network.Contains(a.Addr())) && (e.Port == 0 || e.Port == a.Port())
}
