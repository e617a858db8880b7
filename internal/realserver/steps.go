// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

// Kind is what a Step changes.
type Kind string

// The kinds of step, each with its undo.
const (
	SetSysctl   Kind = "sysctl"       // Setting of Link becomes Value; undone to Found
	SetUp       Kind = "up"           // Link is up; undone to down
	AddMember   Kind = "member"       // Address is in the decapsulator's Set
	AddTunnel   Kind = "tunnel"       // the decapsulator takes Tunnel apart
	Attach      Kind = "attach"       // Link's packets pass the decapsulator
	Clamp       Kind = "clamp"        // clients are told to send no larger segments than Value to Address; undone to any
	AttachClamp Kind = "attach-clamp" // what Link sends tells them
	AddAddress  Kind = "address"      // Link has Address, with a prefix of all bits
)

// Step is one change of the machine, made only where it is not so already.
type Step struct {
	Kind    Kind         `json:"kind"`
	Link    string       `json:"link,omitempty"`
	Setting string       `json:"setting,omitempty"`
	Set     decap.Set    `json:"set,omitempty"`
	Tunnel  decap.Tunnel `json:"tunnel,omitzero"`
	Address netip.Addr   `json:"address,omitzero"`
	Value   int          `json:"value,omitempty"`
	Found   int          `json:"found,omitempty"`
}

// String returns the command that makes the step, where there is one.
func (s Step) String() string {
	switch s.Kind {
	case SetSysctl:
		return fmt.Sprintf("sysctl -w %s=%d", host.InterfaceSysctl(s.Link, s.Setting), s.Value)
	case SetUp:
		return fmt.Sprintf("ip link set %s up", s.Link)
	case AddMember:
		return fmt.Sprintf("decapsulator: add %s to %s", s.Address, s.Set)
	case AddTunnel:
		return fmt.Sprintf("decapsulator: take %s apart", s.Tunnel)
	case Attach:
		return fmt.Sprintf("decapsulator: attach to %s", s.Link)
	case Clamp:
		return fmt.Sprintf("clamp: tell clients of %s an MSS of %d", s.Address, s.Value)
	case AttachClamp:
		return fmt.Sprintf("clamp: attach to %s", s.Link)
	case AddAddress:
		if s.Address.Is6() {
			return fmt.Sprintf("ip address add %s/128 dev %s nodad preferred_lft 0", s.Address, s.Link)
		}
		return fmt.Sprintf("ip address add %s/32 dev %s", s.Address, s.Link)
	}
	return string(s.Kind)
}

// same tells whether two steps make the same change, whatever they found.
func (s Step) same(o Step) bool {
	s.Found, o.Found = 0, 0
	return s == o
}

func contains(steps []Step, s Step) bool {
	return slices.ContainsFunc(steps, s.same)
}

// Facts is what the needs of a Want depend on, and no step changes.
type Facts struct {
	ARPLinks     []string // by which neighbours may ask for the VIP
	Arrivals     []string // by which packets from directors come in
	Astray       []string // of Arrivals, those by which a reply may not leave
	Tunnel       bool     // the kernel has tunl0
	Departures   []string // by which replies to clients may leave
	ArrivalMTU   int      // the smallest of Arrivals
	DepartureMTU int      // the largest of Departures
	CanClamp     bool     // the kernel can change the MSS in what it sends
	RIPs         []netip.Addr
}

// tunnelLink is the device that receives every IPIP packet for which there is
// no closer match; the ipip module makes it (net/ipv4/ipip.c).
const tunnelLink = "tunl0"

// needs returns the steps that serve a want, in the order to make them: the
// machine falls silent before it has the VIP, or it would take it over.
//
// With IPv6 it is silent by itself: it answers neighbours only for addresses of
// the interface that they ask by (net/ipv6/ndisc.c: ndisc_recv_ns()), asks from
// no others (ndisc_solicit()), and checks no reverse path.
func needs(w Want, f Facts) []Step {
	var steps []Step
	if w.VIP.Is4() {
		steps = silence(f.ARPLinks)
	} else {
		f.Astray = nil
	}
	switch {
	case w.Method == TUN && f.Tunnel && w.isKernels():
		steps = append(steps, Step{Kind: SetUp, Link: tunnelLink})
		steps = append(steps, loosen([]string{tunnelLink})...)
		steps = append(steps, Step{Kind: AddAddress, Link: tunnelLink, Address: w.VIP})
	case w.Method == TUN:
		steps = append(steps, decapsulate(w, f)...)
		steps = append(steps, loosen(f.Astray)...)
	default:
		steps = append(steps, loosen(f.Astray)...)
	}
	steps = append(steps, clampSegments(w, f)...)
	return append(steps, Step{Kind: SetUp, Link: "lo"}, Step{Kind: AddAddress, Link: "lo", Address: w.VIP})
}

// silence keeps the machine from answering for the VIP (arp_ignore) and from
// telling neighbours about it when it asks for them (arp_announce).
func silence(links []string) []Step {
	var steps []Step
	for _, link := range links {
		steps = append(steps,
			Step{Kind: SetSysctl, Link: link, Setting: "arp_ignore", Value: 1},
			Step{Kind: SetSysctl, Link: link, Setting: "arp_announce", Value: 2})
	}
	return steps
}

// loosen lets packets of clients in by links through which the machine has no
// route to the client. Strict checking (1) would drop them without a word.
func loosen(links []string) []Step {
	var steps []Step
	for _, link := range links {
		steps = append(steps, Step{Kind: SetSysctl, Link: link, Setting: "rp_filter", Value: 2})
	}
	return steps
}

func decapsulate(w Want, f Facts) []Step {
	var steps []Step
	add := func(set decap.Set, addresses ...netip.Addr) {
		for _, a := range addresses {
			steps = append(steps, Step{Kind: AddMember, Set: set, Address: a})
		}
	}
	add(decap.VIPs, w.VIP)
	add(decap.Directors, w.Directors...)
	add(decap.RIPs, f.RIPs...)
	for _, tunnel := range w.tunnels() {
		steps = append(steps, Step{Kind: AddTunnel, Tunnel: tunnel})
	}
	for _, link := range f.Arrivals {
		steps = append(steps, Step{Kind: Attach, Link: link})
	}
	return steps
}

// isMet tells whether the effective value of a setting serves the step. The
// kernel takes the greater of the interface's value and that of "all"
// (include/linux/inetdevice.h, IN_DEV_MAXCONF).
func (s Step) isMet(all, own int) bool {
	effective := max(all, own)
	switch s.Setting {
	case "arp_ignore":
		// 3 answers for addresses of global scope, 4 to 7 for all (net/ipv4/arp.c, arp_ignore).
		return effective == 1 || effective == 2 || effective == 8
	case "arp_announce":
		return effective == 2
	}
	return effective != 1 // rp_filter
}
