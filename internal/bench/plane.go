// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
)

const (
	// loopback is the interface that BPF_PROG_TEST_RUN lets packets come in by.
	loopback   = 1
	secondPort = "port2"
	idleLink   = "port2-peer"

	// servers of each service; bpf/bench.bpf.c: SERVERS_MASK.
	servers = 64
)

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
}

// The services: one for each method, then variants of one. All but the last
// send by the interface that packets come in by, as the MAC swap does.
var (
	direct   = service{"dr", ipvs.TCP, ipvs.Route, "rr", address(192, 0, 2, 1), address(10, 0, 1, 0), "lo", "route"}
	tunnel   = service{"ipip", ipvs.TCP, ipvs.Tunnel, "rr", address(192, 0, 2, 2), address(10, 0, 2, 0), "lo", "tunnel"}
	nat      = service{"nat", ipvs.TCP, ipvs.Masq, "rr", address(192, 0, 2, 3), address(10, 0, 3, 0), "lo", "masq-in"}
	weighted = service{"dr-wrr", ipvs.TCP, ipvs.Route, "wrr", address(192, 0, 2, 4), address(10, 0, 1, 0), "lo", "route"}
	twoArmed = service{"dr-redirect", ipvs.TCP, ipvs.Route, "rr", address(192, 0, 2, 5), address(10, 0, 4, 0), secondPort, "route"}
	direct6  = direct.inIPv6()
	tunnel6  = tunnel.inIPv6()
	nat6     = nat.inIPv6()

	services = []service{direct, tunnel, nat, weighted, twoArmed, direct6, tunnel6, nat6}

	// newServices are those whose new connections are measured.
	newServices = []service{direct, tunnel, nat, weighted}

	// scheduled are more of those, one for each other scheduler.
	scheduled = directBy("lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "lblc", "lblcr", "sh", "dh", "mh")
)

func directBy(schedulers ...string) (services []service) {
	for i, scheduler := range schedulers {
		s := direct
		s.name, s.scheduler, s.vip = "dr-"+scheduler, scheduler, address(192, 0, 2, byte(10+i))
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

// plane is a datapath of its own, with all services and what is entered in it.
type plane struct {
	*dataplane.Dataplane
	memory memory
}

func openPlane(connections int) (*plane, error) {
	d, err := dataplane.Open(dataplane.Config{Connections: connections})
	if err != nil {
		return nil, err
	}
	p := &plane{Dataplane: d}
	if err := p.configure(services); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if p.memory, err = mapMemory(d.Program()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return p, nil
}

func (p *plane) close() error {
	return errors.Join(p.memory.unmap(), p.Close())
}

func (p *plane) configure(services []service) error {
	second, err := host.LinkByName(secondPort)
	if err != nil {
		return err
	}
	ports := map[string]int{"lo": loopback, secondPort: second.Index}
	var interfaces []dataplane.Interface
	for _, index := range ports {
		interfaces = append(interfaces, dataplane.Interface{
			Index: index, MAC: directorMAC[:], MTU: 1500, Mode: dataplane.Native,
		})
	}
	if err := p.SetInterfaces(interfaces); err != nil {
		return err
	}
	for _, s := range services {
		for _, change := range s.changes() {
			if err := p.Apply(change); err != nil {
				return fmt.Errorf("%s: %w", change, err)
			}
		}
		for rip := range s.realServers() {
			p.SetNextHop(rip, dataplane.NextHop{
				Interface: ports[s.port],
				Source:    directorMAC[:],
				Neighbour: []byte{2, 0, 0, 0, 1, rip.As16()[15]},
				MTU:       1500,
				Address:   directorAddress(rip),
			})
		}
	}
	return nil
}

func directorAddress(rip netip.Addr) netip.Addr {
	own := address(10, 0, 0, 1)
	if rip.Is6() {
		return address6(own)
	}
	return own
}

// realServers yields the addresses of a service's real servers, in order.
func (s service) realServers() func(yield func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		rip := s.rip
		for range servers {
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
		changes = append(changes, ipvs.Change{Op: ipvs.AddDestination, Service: virtual, Destination: ipvs.Destination{
			RIP: netip.AddrPortFrom(rip, 80), Forwarding: s.forwarding, Weight: int32(1 + i%4),
		}})
	}
	return changes
}

// establish enters connections: a SYN and an ACK from flows 0 to flows-1.
func (p *plane) establish(ctx context.Context, d *driver, s service, clients netip.Addr, flows int) error {
	const few = 1 << 14 // half-open at a time: such give way to others when it gets crowded
	for first := 0; first < flows; first += few {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, flags := range []tcpFlags{syn, ack} {
			packets := stream{flags: flags, vip: s.vip, clients: clients, flows: 1 << 30, last: uint32(first - 1)}
			if _, err := d.send(p.Program(), &packets, 0, min(few, flows-first)); err != nil {
				return fmt.Errorf("establish connections of %s: %w", s.name, err)
			}
		}
	}
	return nil
}

// reply sends a packet from the real server of each flow: the first looks up
// the way to the client.
func (p *plane) reply(d *driver, s service, clients netip.Addr, flows int) error {
	packets := stream{flags: ack, vip: s.vip, servers: s.rip, clients: clients, flows: flows, last: uint32(flows - 1)}
	if _, err := d.send(p.Program(), &packets, 0, flows); err != nil {
		return fmt.Errorf("reply to connections of %s: %w", s.name, err)
	}
	return nil
}

// flood sends SYNs of flows that are never seen again.
func (p *plane) flood(d *driver, s service, packets int) error {
	if _, err := d.send(p.Program(), s.newFlows(floodClients), 0, packets); err != nil {
		return fmt.Errorf("flood %s: %w", s.name, err)
	}
	return nil
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
)
