// SPDX-License-Identifier: Apache-2.0

// Package realserver prepares a machine to serve as a real server: it gives it
// the VIP without letting it answer for the VIP's neighbours, and takes
// tunnels apart. It remembers what it found, and puts that back.
//
//	           what is asked for            what the machine is like
//	                 Want        facts.go        Facts
//	                    \                        /
//	                     +------ steps.go ------+        pure
//	                                |
//	                           needed []Step
//	                                |
//	state.go  done []Step ---- converge.go ----  machine.go: look, do, undo
package realserver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// Method is a forwarding method as seen by a real server.
type Method string

// The methods, by the names they have in prose and on the command line.
const (
	NAT Method = "nat" // the director rewrites addresses: nothing to prepare, but replies must pass it
	TUN Method = "tun" // packets come in a tunnel, replies bypass the director
	DR  Method = "dr"  // packets come as they are, replies bypass the director
)

// ParseMethod reads a method's name.
func ParseMethod(name string) (Method, error) {
	switch m := Method(name); m {
	case NAT, TUN, DR:
		return m, nil
	}
	return "", fmt.Errorf("method %q: not one of nat, tun, dr", name)
}

// Want is one VIP to be served by one forwarding method.
type Want struct {
	Method    Method         `json:"method"` // DR or TUN
	VIP       netip.Addr     `json:"vip"`
	Directors []netip.Addr   `json:"directors,omitempty"`
	Interface string         `json:"interface,omitempty"` // where packets for the VIP come in; empty: found by routing
	Tunnels   []decap.Tunnel `json:"tunnels,omitempty"`   // of TUN; none: ipip
	MSS       int            `json:"mss,omitempty"`       // of TUN, what clients are told; 0: found by the way to the directors, negative: left alone
}

// Request is what a user asks for: the wants of several VIPs at once.
type Request struct {
	Method    Method // empty: any, where something is looked for
	VIPs      []netip.Addr
	Directors []netip.Addr
	Interface string
	Tunnels   []decap.Tunnel
	MSS       int
}

func (r Request) wants() []Want {
	var wants []Want
	for _, vip := range r.VIPs {
		wants = append(wants, Want{r.Method, vip, r.Directors, r.Interface, r.Tunnels, r.MSS})
	}
	return wants
}

// tunnels returns the types of tunnel that the want's packets may come in.
func (w Want) tunnels() []decap.Tunnel {
	if len(w.Tunnels) == 0 {
		return []decap.Tunnel{{Type: ipvs.IPIP}}
	}
	return w.Tunnels
}

// isKernels tells whether the kernel's tunnel, if it has one, takes all
// packets of the want apart.
func (w Want) isKernels() bool {
	other := func(t decap.Tunnel) bool { return t.Type != ipvs.IPIP }
	return w.VIP.Is4() && !slices.ContainsFunc(w.Directors, netip.Addr.Is6) && !slices.ContainsFunc(w.tunnels(), other)
}

// merge returns have with each of add in the place of the want of the same
// VIP, or behind.
func merge(have, add []Want) []Want {
	merged := slices.Clone(have)
	for _, w := range add {
		same := func(h Want) bool { return h.VIP == w.VIP }
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i] = w
			continue
		}
		merged = append(merged, w)
	}
	return merged
}

// without returns have less the wants that the request names: by its method,
// by its VIPs, or all if it has neither.
func without(have []Want, r Request) []Want {
	named := func(w Want) bool {
		return (r.Method == "" || r.Method == w.Method) && (len(r.VIPs) == 0 || slices.Contains(r.VIPs, w.VIP))
	}
	return slices.DeleteFunc(slices.Clone(have), named)
}
