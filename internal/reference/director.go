// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Way is how the director reaches a real server. The zero value is one whose
// neighbour is not known.
type Way struct {
	Neighbour MAC
	MTU       int        // of the route
	Source    netip.Addr // what the director calls itself on this way, for tunnels
	Local     bool       // the address is the director's own
	NoRoute   bool
	NoPort    bool // it is by another interface, which cannot send
}

// Clock says how long the datapath's ticks are.
type Clock struct {
	Ticks    func(time.Duration) uint32
	Duration func(ticks uint32) time.Duration
}

// Director is a virtual server with one interface.
type Director struct {
	Clock
	MAC      MAC
	MTU      int // of the interface; what is larger was merged by offload. 0: whatever is
	LinkMTU  int // what replies to clients may have that were not merged; 0: any
	Settings Settings
	Dice     uint32 // what the first throw for a packet shows
	Room     int    // for connections and templates, all worth keeping: none gives way; 0: for any number
	SeesOwn  bool   // what the director itself sends, too: as a real server it may have another address

	// TakenForVIP and TakenForRIP tell which addresses the datapath's filters
	// take for a VIP and for a NAT server by mistake; what they say of others
	// does not count.
	TakenForVIP, TakenForRIP func(netip.Addr) bool

	Fronts   Fronts
	Without  map[Program]bool // what was taken away
	Keeps    bool             // somebody keeps early fragments
	tagBytes int              // of the frame under way, which a Trunk took off

	// Forwards tells whether the machine sends on what is for an address.
	Forwards func(netip.Addr) bool

	now       uint64 // in ticks
	ways      map[netip.Addr]Way
	services  []*service // in the order of their creation
	trash     []*dest
	nowhere   *dest
	marks     []ipvs.MarkRule
	sinceDrop int                 // packets until the next is dropped
	turns     [packetsCounted]int // connections with so many packets until the next is dropped
	orphans   bool                // a destination was removed whose connections may have to end
	conns     conns
	templates []*template
	firsts    map[fragmentKey]*first
	timeouts  [states]time.Duration
	errors    credit // ICMP errors that may be sent
	early     credit // fragments that may be kept
	packet    packet // the one being looked at
	out       []byte // the frame that leaves
}

// New returns a director without services.
func New(mac MAC, clock Clock) *Director {
	return &Director{
		Clock: clock, MAC: mac, Settings: DefaultSettings,
		ways:        make(map[netip.Addr]Way),
		TakenForVIP: nobody, TakenForRIP: nobody, Forwards: nobody,
		firsts:   make(map[fragmentKey]*first),
		conns:    conns{in: make(map[flow]*conn), out: make(map[flow][]*conn), vips: make(map[netip.Addr]int)},
		timeouts: stateTimeouts,
		nowhere:  newNowhere(),
	}
}

func nobody(netip.Addr) bool { return false }

// SetWay says how a real server is reached from now on.
func (d *Director) SetWay(rip netip.Addr, way Way) {
	d.ways[rip] = way
	for _, s := range d.services {
		forgetMTU(s.dests, rip)
	}
	forgetMTU(d.trash, rip)
}

func forgetMTU(dests []*dest, rip netip.Addr) {
	for _, dest := range dests {
		if dest.RIP.Addr() == rip {
			dest.learnedMTU = 0
		}
	}
}

// Pass lets time go by. Connections and templates whose time is over end, in
// their order.
func (d *Director) Pass(ticks uint32) {
	until := d.now + uint64(ticks)
	for t := d.nextTemplate(until); t != nil; t = d.nextTemplate(until) {
		d.now = t.expires
		d.endConns()
		d.expireTemplate(t)
	}
	d.now = until
	d.endConns()
	d.keepTellers()
}

func (d *Director) endConns() {
	for _, c := range d.conns.in {
		if c.expires <= d.now {
			d.end(c)
		}
	}
}

// SetTimeouts sets those that are not zero, as ipvsadm --set does.
func (d *Director) SetTimeouts(t ipvs.Timeouts) {
	set := func(s State, seconds uint32) {
		if seconds != 0 {
			d.timeouts[s] = time.Duration(seconds) * time.Second
		}
	}
	set(Established, t.TCP)
	set(FinWait, t.TCPFin)
	set(UDP, t.UDP)
}
