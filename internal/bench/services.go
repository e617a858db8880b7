// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// usualServers are bpf/bench.bpf.c: SERVERS_MASK and one.
const usualServers = 64

// service is a virtual service of the benchmark.
type service struct {
	name       string
	protocol   ipvs.Protocol
	forwarding ipvs.Forwarding
	scheduler  string
	vip        netip.Addr
	rip        netip.Addr // of the first real server
	port       string     // the interface to the real servers
	verdict    string     // of its requests
	servers    int        // how many
}

// The services: one for each method, then variants of one. All but twoArmed
// send by the interface that packets come in by, as the MAC swap does.
var (
	direct      = service{"dr", ipvs.TCP, ipvs.Route, "rr", address(192, 0, 2, 1), address(10, 0, 1, 0), "lo", "route", usualServers}
	tunnel      = service{"ipip", ipvs.TCP, ipvs.Tunnel, "rr", address(192, 0, 2, 2), address(10, 0, 2, 0), "lo", "tunnel", usualServers}
	nat         = service{"nat", ipvs.TCP, ipvs.Masq, "rr", address(192, 0, 2, 3), address(10, 0, 3, 0), "lo", "masq-in", usualServers}
	weighted    = service{"dr-wrr", ipvs.TCP, ipvs.Route, "wrr", address(192, 0, 2, 4), address(10, 0, 1, 0), "lo", "route", usualServers}
	leastLoaded = service{"dr-lc-64", ipvs.TCP, ipvs.Route, "lc", address(192, 0, 2, 6), address(10, 0, 1, 0), "lo", "route", usualServers}
	twoArmed    = service{"dr-redirect", ipvs.TCP, ipvs.Route, "rr", address(192, 0, 2, 5), address(10, 0, 4, 0), secondPort, "route", usualServers}
	direct6     = direct.inIPv6()
	tunnel6     = tunnel.inIPv6()
	nat6        = nat.inIPv6()

	services = []service{direct, tunnel, nat, weighted, leastLoaded, twoArmed, direct6, tunnel6, nat6}

	// newServices are those whose new connections are measured.
	newServices = []service{direct, tunnel, nat, weighted, leastLoaded, direct6, tunnel6, nat6}

	// scheduled are more of those: one for each other scheduler, the last mh.
	scheduled = directBy("lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "lblc", "lblcr", "sh", "dh", "mh")
)

func directBy(schedulers ...string) (services []service) {
	for i, scheduler := range schedulers {
		s := direct
		s.name, s.scheduler, s.vip = "dr-"+scheduler, scheduler, address(192, 0, 2, byte(10+i))
		if scheduler == leastLoaded.scheduler {
			s.name, s.servers = "dr-lc-256", 4*usualServers
		}
		services = append(services, s)
	}
	return services
}

// directions names a service's packets: requests, and replies where the director sees those.
func (s service) directions() (in, out string) {
	if s.forwarding != ipvs.Masq {
		return s.name, ""
	}
	family := strings.TrimPrefix(s.name, "nat")
	return "nat-in" + family, "nat-out" + family
}

func (s service) newName() string {
	in, _ := s.directions()
	return in + "-new"
}

// inIPv6 is the same service with the addresses' bits behind an IPv6 prefix.
func (s service) inIPv6() service {
	s.name, s.vip, s.rip = s.name+"-v6", address6(s.vip), address6(s.rip)
	return s
}

func address6(a netip.Addr) netip.Addr {
	bytes := netip.MustParseAddr("2001:db8::").As16()
	copy(bytes[12:], a.AsSlice())
	return netip.AddrFrom16(bytes)
}

func address(a, b, c, d byte) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b, c, d})
}

// realServers yields the addresses of a service's real servers, in order.
func (s service) realServers() func(yield func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		rip := s.rip
		for range s.servers {
			if !yield(rip) {
				return
			}
			rip = rip.Next()
		}
	}
}

// changes adds the destinations last to first: the kernel's order is newest
// first, so that rr gives flow n to real server n modulo servers.
func (s service) changes() []ipvs.Change {
	virtual := ipvs.Service{
		Key:       ipvs.Key{Protocol: s.protocol, VIP: netip.AddrPortFrom(s.vip, 80)},
		Scheduler: s.scheduler,
	}
	changes := []ipvs.Change{{Op: ipvs.AddService, Service: virtual}}
	rips := slices.Collect(s.realServers())
	slices.Reverse(rips)
	for i, rip := range rips {
		weight := int32(1 + i%4)
		if s.scheduler == "ovf" {
			weight <<= 24 // which a destination's connections may not exceed
		}
		changes = append(changes, ipvs.Change{Op: ipvs.AddDestination, Service: virtual, Destination: ipvs.Destination{
			RIP: netip.AddrPortFrom(rip, 80), Forwarding: s.forwarding, Weight: weight,
		}})
	}
	return changes
}

// newFlows is SYNs, each of another flow.
func (s service) newFlows(clients netip.Addr) *stream {
	return &stream{flags: syn, vip: s.vip, clients: clients, flows: 1 << 30}
}

// Clients by what they do: those of many are far enough apart that no flow
// is met twice (2^30 flows have 2^18 addresses).
var (
	establishedClients = address(100, 64, 0, 0)
	hotClients         = address(100, 72, 0, 0)
	newClients         = address(100, 80, 0, 0)
	floodClients       = address(100, 96, 0, 0)
	secondClients      = address(100, 112, 0, 0) // new ones of a second generator
	foreigners         = address(198, 18, 0, 0)
)

// flowPorts is how many flows a client has: bpf/bench.bpf.c: FLOW_PORT_BITS.
const flowPorts = 1 << 12

// clientOf returns who has a flow.
func clientOf(clients netip.Addr, flow int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], hostOrder(clients)+uint32(flow/flowPorts))
	return netip.AddrFrom4(b)
}
