// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// ownConnections are more than all rounds make.
const ownConnections = 1 << 19

// pathServices are measured with each director that knows the method.
var pathServices = []service{direct.inUDP(), tunnel.inUDP(), nat.inUDP()}

// inUDP is the same service of UDP, whose packets no stack merges.
func (s service) inUDP() service {
	s.protocol = ipvs.UDP
	return s
}

// floors do nothing that a director does: no program of one costs less.
func (p *path) floors() ([]director, error) {
	o := &p.driver.objects
	packets := stream{udp: true, vip: direct.vip, clients: hotClients, flows: 1}
	var floors []director
	for _, floor := range []struct {
		name    string
		program *ebpf.Program
	}{{dropped, o.Sink}, {macSwap, o.FloorMacSwap}, {"redirect", o.FloorRedirect}} {
		floors = append(floors, director{
			name:    floor.name,
			program: func() *ebpf.Program { return floor.program },
			cases:   []*journey{{name: floor.name, stream: &packets, seen: p.driver.sunk}},
		})
	}
	return floors, nil
}

// ours is this project's datapath.
func (p *path) ours() ([]director, error) {
	plane, err := dataplane.Open(dataplane.Config{Connections: ownConnections})
	if err != nil {
		return nil, err
	}
	begin := func() (func() error, error) { return plane.Close, p.configure(plane) }
	return []director{{name: "lvsx", begin: begin, program: plane.Program, cases: p.journeys("", p.driver.sunk)}}, nil
}

func (p *path) configure(plane *dataplane.Dataplane) error {
	var interfaces []dataplane.Interface
	for _, l := range []host.Link{p.in, p.out} {
		interfaces = append(interfaces, dataplane.Interface{Index: l.Index, MAC: l.MAC, MTU: l.MTU, Mode: dataplane.Native})
	}
	errs := []error{plane.SetInterfaces(interfaces)}
	for _, s := range pathServices {
		for _, change := range s.changes() {
			errs = append(errs, plane.Apply(change))
		}
		for rip := range s.realServers() {
			plane.SetNextHop(rip, dataplane.NextHop{
				Interface: p.out.Index, Source: p.out.MAC, Neighbour: p.server.MAC, MTU: p.out.MTU, Address: directorAddress(rip),
			})
		}
	}
	return errors.Join(errs...)
}

// journeys are the cases of a director that knows all methods. Those of one connection come
// before the others fill its table, where each then lies as good as any.
func (p *path) journeys(prefix string, seen func() (uint64, error)) []*journey {
	var established, opening []*journey
	clients := hotClients
	for i, s := range pathServices {
		// None of another service: connections of one client's port are found one after the other.
		clients = clients.Next()
		others := address(100, 80, byte(64*i), 0)
		in, out := s.directions()
		hot := stream{udp: true, vip: s.vip, clients: clients, flows: 1}
		fresh := stream{udp: true, vip: s.vip, clients: others, flows: 1 << 30}
		established = append(established, &journey{name: prefix + in + "-established", stream: &hot, seen: seen})
		if out != "" {
			replies := hot
			// The first connection of a table has the first server; where not, no reply arrives.
			replies.servers = s.rip
			established = append(established, &journey{name: prefix + out + "-established", stream: &replies, seen: seen})
		}
		opening = append(opening, &journey{name: prefix + in + "-new", stream: &fresh, seen: seen})
	}
	return append(established, opening...)
}

// kernels are the directors that the kernel has, as far as it has them.
func (p *path) kernels() ([]director, error) {
	forward := &stream{udp: true, vip: direct.rip, clients: hotClients, flows: 1}
	directors := []director{{name: forwarding, cases: []*journey{{name: forwarding, stream: forward, seen: sentNowhere}}}}
	_ = exec.Command("modprobe", "ip_vs", "conn_tab_bits=18").Run() // if there is none, ipvsadm says so
	if err := tell("", "ipvsadm", "-C"); err != nil {
		p.missing = append(p.missing, "ipvs: "+err.Error())
	} else {
		directors = append(directors, director{name: "ipvs", begin: beginIPVS, cases: p.journeys("ipvs-", sentNowhere)})
	}
	if err := tell("", "nft", "list", "tables"); err != nil {
		p.missing = append(p.missing, "nft: "+err.Error())
	} else {
		directors = append(directors, p.nft())
	}
	return directors, nil
}

// sentNowhere counts what the kernel has sent on.
func sentNowhere() (uint64, error) {
	traffic, err := host.LinkTraffic(nowhereLink)
	return traffic.TxPackets, err
}

// beginIPVS makes the services in the kernel's IPVS, which takes what is for
// an address of its own.
func beginIPVS() (func() error, error) {
	var lines strings.Builder
	for _, s := range pathServices {
		if _, err := host.AddAddress("lo", netip.PrefixFrom(s.vip, 32)); err != nil {
			return nil, err
		}
		for _, change := range s.changes() {
			fmt.Fprintln(&lines, change)
		}
	}
	end := func() error {
		errs := []error{tell("", "ipvsadm", "-C")}
		for _, s := range pathServices {
			_, err := host.DeleteAddress("lo", netip.PrefixFrom(s.vip, 32))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return end, tell(lines.String(), "ipvsadm", "-R")
}

// nft is DNAT by connection tracking, the same as iptables does.
func (p *path) nft() director {
	s := pathServices[len(pathServices)-1]
	var servers []string
	for rip := range s.realServers() {
		servers = append(servers, fmt.Sprintf("%d : %s", len(servers), rip))
	}
	rules := fmt.Sprintf(`table ip bench { chain prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr %s udp dport 80 dnat to numgen inc mod %d map { %s }
	}
	}`, s.vip, len(servers), strings.Join(servers, ", "))
	hot := &stream{udp: true, vip: s.vip, clients: hotClients, flows: 1}
	fresh := &stream{udp: true, vip: s.vip, clients: floodClients, flows: 1 << 30}
	return director{
		name: "nft-dnat",
		begin: func() (func() error, error) {
			end := func() error { return tell("", "nft", "delete", "table", "ip", "bench") }
			// The stream's checksums are wrong; and usually a network card has verified them.
			return end, errors.Join(tell(rules, "nft", "-f", "-"), host.Sysctl("net/netfilter/nf_conntrack_checksum").Write(0))
		},
		cases: []*journey{
			{name: "nft-dnat-established", stream: hot, seen: sentNowhere},
			{name: "nft-dnat-new", stream: fresh, seen: sentNowhere},
		},
	}
}

// tell runs a command, with input, in the calling thread's network namespace.
func tell(input string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
