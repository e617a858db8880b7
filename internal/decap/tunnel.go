// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Tunnel is one way of wrapping packets that the decapsulator knows.
type Tunnel struct {
	Type ipvs.TunnelType `json:"type"`
	Port uint16          `json:"port,omitempty"` // of GUE
}

// String returns "ipip", "gre" or, with its port, "gue:6080".
func (t Tunnel) String() string {
	if t.Type == ipvs.GUE {
		return fmt.Sprintf("%s:%d", t.Type, t.Port)
	}
	return t.Type.String()
}

// MarshalText implements encoding.TextMarshaler.
func (t Tunnel) MarshalText() ([]byte, error) {
	return []byte(t.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Tunnel) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTunnel(string(text))
	return err
}

// ParseTunnel reads what String returns.
func ParseTunnel(text string) (Tunnel, error) {
	switch text {
	case "ipip":
		return Tunnel{Type: ipvs.IPIP}, nil
	case "gre":
		return Tunnel{Type: ipvs.GRE}, nil
	}
	port, found := strings.CutPrefix(text, "gue:")
	number, err := strconv.ParseUint(port, 10, 16)
	if !found || err != nil || number == 0 {
		return Tunnel{}, fmt.Errorf("tunnel %q: not one of ipip, gre, gue:PORT", text)
	}
	return Tunnel{Type: ipvs.GUE, Port: uint16(number)}, nil
}

// keys returns what the outer header of such tunnels shows.
func (t Tunnel) keys() []decapTunnelType {
	switch t.Type {
	case ipvs.GRE:
		return []decapTunnelType{{Protocol: unix.IPPROTO_GRE}}
	case ipvs.GUE:
		return []decapTunnelType{{Protocol: unix.IPPROTO_UDP, Port: bits.ReverseBytes16(t.Port)}}
	}
	return []decapTunnelType{{Protocol: unix.IPPROTO_IPIP}, {Protocol: unix.IPPROTO_IPV6}}
}

// AddTunnel lets the decapsulator take such tunnels apart. Others it leaves to
// the kernel.
func (d *Decapsulator) AddTunnel(t Tunnel) error {
	for _, key := range t.keys() {
		if err := d.types.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("add tunnel %s: %w", t, err)
		}
	}
	return nil
}

// DeleteTunnel undoes AddTunnel.
func (d *Decapsulator) DeleteTunnel(t Tunnel) error {
	for _, key := range t.keys() {
		if err := d.types.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete tunnel %s: %w", t, err)
		}
	}
	return nil
}

// Tunnels returns what is taken apart, sorted.
func (d *Decapsulator) Tunnels() ([]Tunnel, error) {
	var key decapTunnelType
	var value uint8
	var tunnels []Tunnel
	entries := d.types.Iterate()
	for entries.Next(&key, &value) {
		switch key.Protocol {
		case unix.IPPROTO_IPIP:
			tunnels = append(tunnels, Tunnel{Type: ipvs.IPIP})
		case unix.IPPROTO_GRE:
			tunnels = append(tunnels, Tunnel{Type: ipvs.GRE})
		case unix.IPPROTO_UDP:
			tunnels = append(tunnels, Tunnel{Type: ipvs.GUE, Port: bits.ReverseBytes16(key.Port)})
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list tunnels: %w", err)
	}
	slices.SortFunc(tunnels, func(a, b Tunnel) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Port, b.Port))
	})
	return tunnels, nil
}
