// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// ways are the next hops to real servers, resolved ahead so that no packet
// pays for it.
type ways struct {
	plane   *dataplane.Dataplane
	routing *host.Routing
	links   []host.Link
	nets    []netip.Prefix // of this host's addresses
	known   map[netip.Addr]way
	queue   map[netip.Addr]bool // real servers that came in a crowd and were not looked at yet
	asked   time.Time           // when all neighbours were asked last
	reset   time.Time           // when what paths can carry was forgotten last
}

// neighbours are those known on links, each link's as they were when it was
// looked at first.
type neighbours map[int]map[netip.Addr]host.Neighbour

// way is what is known of the way to one real server.
type way struct {
	hop       dataplane.NextHop
	neighbour netip.Addr // whose MAC address the hop has or waits for
	static    bool       // somebody configured it: it is never asked for
}

const (
	// confirmInterval keeps neighbours alive: the kernel does not see that
	// the datapath uses them.
	confirmInterval = 15 * time.Second
	// maxAsked neighbours that do not answer are asked again every second.
	maxAsked = 64
	// forgetInterval is net.ipv4.route.mtu_expires: what an ICMP error said
	// of a path is believed for that long.
	forgetInterval = 10 * time.Minute
)

func (w *ways) init(plane *dataplane.Dataplane) (err error) {
	w.plane, w.known, w.reset = plane, make(map[netip.Addr]way), time.Now()
	w.queue = make(map[netip.Addr]bool)
	w.routing, err = host.OpenRouting()
	return err
}

// look takes the machine's interfaces as they are now, and forgets real servers
// that are gone. It returns those that are to be resolved anew.
func (w *ways) look(links []host.Link) []netip.Addr {
	w.links = links
	if nets, err := host.AllAddresses(); err == nil {
		w.nets = nets
	}
	rips := w.plane.RealServers()
	there := make(map[netip.Addr]bool, len(rips))
	for _, rip := range rips {
		there[rip] = true
	}
	maps.DeleteFunc(w.known, func(rip netip.Addr, _ way) bool { return !there[rip] })
	return rips
}

// update resolves real servers and tells the datapath what changed.
func (w *ways) update(rips []netip.Addr, seen neighbours) {
	for _, rip := range rips {
		w.set(rip, w.resolve(rip, seen))
	}
}

// isBroadcast tells whether an address reaches everybody on one of this host's
// networks.
func (w *ways) isBroadcast(a netip.Addr) bool {
	return slices.ContainsFunc(w.nets, func(n netip.Prefix) bool {
		const pairBits = 31 // RFC 3021: such networks have no broadcast address
		return a.Is4() && n.Addr().Is4() && n.Bits() < pairBits && n.Contains(a) && !n.Contains(a.Next())
	})
}

func (w *ways) set(rip netip.Addr, found way) {
	before, known := w.known[rip]
	if known && reflect.DeepEqual(before, found) {
		return
	}
	w.known[rip] = found
	w.plane.SetNextHop(rip, found.hop)
}

// resolve asks routing and the neighbour table, and has the kernel ask for a
// neighbour that it does not know.
func (w *ways) resolve(rip netip.Addr, seen neighbours) way {
	path, err := w.routing.PathTo(rip)
	i := slices.IndexFunc(w.links, func(l host.Link) bool { return l.Index == path.Link })
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), err == nil && i < 0:
		return way{hop: dataplane.NextHop{NoRoute: true}}
	case err != nil:
		return w.known[rip] // a passing failure: what was known stays
	case path.Local:
		return way{hop: dataplane.NextHop{Local: true, MTU: w.links[i].MTU}}
	}
	link := w.links[i]
	found := way{
		neighbour: rip,
		hop:       dataplane.NextHop{Interface: link.Index, Source: link.MAC, MTU: link.MTU, Address: path.Source},
	}
	if path.Gateway.IsValid() {
		found.neighbour = path.Gateway
	}
	if seen[link.Index] == nil {
		// Unreadable is as unknown: asked for below, and again in a second.
		seen[link.Index], _ = w.routing.Neighbours(link.Index)
	}
	there := seen[link.Index][found.neighbour]
	found.hop.Neighbour, found.static = there.MAC, there.Static
	if found.hop.Neighbour == nil && !reflect.DeepEqual(found, w.known[rip]) {
		// Who was asked already is asked again in a second.
		_ = w.routing.AskNeighbour(link.Index, found.neighbour)
	}
	return found
}

// find resolves a real server that is about to be added among so many changes.
// If it is the only one it waits a moment for the neighbour to answer, so that
// the first packet after the command finds its way. A crowd waits for nobody:
// its way is found afterwards.
func (w *ways) find(rip netip.Addr, changes int, seen neighbours) {
	if found, known := w.known[rip]; known {
		w.plane.RemindNextHop(rip, found.hop)
		return
	}
	switch {
	case len(w.links) == 0:
		return
	case changes > few:
		w.queue[rip] = true
		return
	}
	patient := changes == 1
	found := w.resolve(rip, seen)
	for wait := time.Millisecond; patient && w.isWaiting(found) && wait < 200*time.Millisecond; wait *= 2 {
		time.Sleep(wait)
		found = w.resolve(rip, make(neighbours))
	}
	w.set(rip, found)
}

func (w *ways) isWaiting(found way) bool {
	return found.hop.Interface != 0 && found.hop.Neighbour == nil
}

// keepAlive asks again for neighbours that did not answer, has the kernel
// confirm the others now and then, and forgets what ICMP errors said long ago.
func (w *ways) keepAlive(now time.Time) {
	confirm := now.Sub(w.asked) >= confirmInterval
	if confirm {
		w.asked = now
		w.askGateways()
	}
	waiting := 0
	for _, found := range w.known {
		// Of hundreds that are silent none is worth a question a second.
		if w.isWaiting(found) {
			waiting++
		}
		if found.neighbour.IsValid() && !found.static && (confirm || w.isWaiting(found) && waiting <= maxAsked) {
			_ = w.routing.AskNeighbour(found.hop.Interface, found.neighbour)
		}
	}
	if now.Sub(w.reset) >= forgetInterval {
		w.reset = now
		for rip, found := range w.known {
			w.plane.SetNextHop(rip, found.hop)
		}
	}
}

// discovery is how neighbours find an address's MAC address.
func discovery(a netip.Addr) string {
	if a.Is6() {
		return "neighbour discovery"
	}
	return "ARP"
}

// isLocal tells whether a real server is the director itself.
func (w *ways) isLocal(rip netip.Addr) bool {
	found, ok := w.known[rip]
	return ok && found.hop.Local
}

// problems says what keeps services from being reached and what to do.
func (w *ways) problems(table ipvs.Table) []string {
	var problems []string
	for rip, found := range w.known {
		switch {
		case found.hop.NoRoute:
			problems = append(problems, fmt.Sprintf("no route to real server %s: add one", rip))
		case w.isWaiting(found) && found.neighbour == rip:
			problems = append(problems, fmt.Sprintf("real server %s does not answer %s: is it up?", rip, discovery(rip)))
		case w.isWaiting(found):
			problems = append(problems, fmt.Sprintf("gateway %s to real server %s does not answer %s: is it up?", found.neighbour, rip, discovery(rip)))
		}
	}
	checked := make(map[netip.Addr]bool)
	for _, s := range table.Services {
		vip := s.VIP.Addr()
		if s.Mark != 0 || checked[vip] {
			continue
		}
		checked[vip] = true
		if path, err := host.PathTo(vip); err != nil || !path.Local {
			problems = append(problems, fmt.Sprintf("VIP %s is no address of this host: nobody answers %s for it; add it with: lvsx vip add %s/%d --interface IF", vip, discovery(vip), vip, vip.BitLen()))
		}
	}
	slices.Sort(problems)
	return problems
}
