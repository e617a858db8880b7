// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Three networks, one for each forwarding method. A box is a network
// namespace, a line is a veth pair, and the switch holds a bridge. The client
// sees the same in all three: a VIP behind its router.
//
// NAT: the real servers are private and have nothing but a default route to
// the director, so replies come back through it.
//
//	          198.51.100.0/24       192.0.2.0/24          10.0.0.0/24
//	+--------+ .2         .1 +--------+ .1     .2 +----------+ .1   +--------+ .11 +-----+
//	| client |---------------| router |-----------| director |------| switch |-----| rs1 |
//	+--------+               +--------+           |   VIP    |      |        |-----| rs2 |
//	                                              +----------+      +--------+ .12 +-----+
//
// TUN: the real servers are on another network than the director, somewhere
// behind a router. Requests reach them in a tunnel, replies take the router.
//
//	          198.51.100.0/24       192.0.2.0/24
//	+--------+ .2         .1 +--------+ .1     .2 +----------+
//	| client |---------------| router |-----------| director |
//	+--------+               +--------+           |   VIP    |
//	                          .1 |                +----------+
//	                             | 203.0.113.0/24
//	                         +--------+ .11 +-----+
//	                         | switch |-----| rs1 |
//	                         |        |-----| rs2 |
//	                         +--------+ .12 +-----+
//
// DR: director and real servers share a segment. Replies take the router.
//
//	          198.51.100.0/24       192.0.2.0/24
//	+--------+ .2         .1 +--------+ .1 +--------+  .2 +----------+
//	| client |---------------| router |----| switch |-----| director |
//	+--------+               +--------+    |        |     |   VIP    |
//	                                       |        | .11 +----------+
//	                                       |        |-----| rs1 |
//	                                       |        |-----| rs2 |
//	                                       +--------+ .12 +-----+
type topology struct {
	wires      []wire
	gateways   map[string]string // node → where its default route leads
	forwarding []string          // nodes that pass on packets of others
	servers    []Server
}

// wire is a veth pair between two nodes.
type wire struct{ a, b end }

// end is one end of a wire. One without an address is a port of its node's
// bridge.
type end struct{ node, link, address string }

// Server is a real server of a cluster.
type Server struct {
	Name string
	RIP  netip.Addr
}

// The nodes that each topology has besides its servers.
const (
	client   = "client"
	router   = "router"
	director = "director"
	switch0  = "switch"
)

// Addresses that are the same in each topology: TEST-NET-1 and -2 of RFC 5737.
var (
	vip = netip.MustParseAddr("192.0.2.80")
	dip = netip.MustParseAddr("192.0.2.2")
)

const (
	routerAddress = "192.0.2.1"
	natGateway    = "10.0.0.1" // the director's, in front of private real servers
	maxServers    = 99
)

func topologyOf(method Method, servers int) topology {
	t := topology{
		wires:      []wire{{end{client, "eth0", "198.51.100.2/24"}, end{router, client, "198.51.100.1/24"}}},
		gateways:   map[string]string{client: "198.51.100.1", director: routerAddress},
		forwarding: []string{router},
	}
	toDirector := wire{end{router, director, routerAddress + "/24"}, end{director, "eth0", dip.String() + "/24"}}
	switch method {
	case NAT:
		t.connect(toDirector, wire{end{director, "eth1", natGateway + "/24"}, end{switch0, director, ""}})
		t.forwarding = append(t.forwarding, director)
		t.addServers(servers, "10.0.0.", natGateway)
	case TUN:
		t.connect(toDirector, wire{end{router, "servers", "203.0.113.1/24"}, end{switch0, router, ""}})
		t.addServers(servers, "203.0.113.", "203.0.113.1")
	case DR:
		t.connect(wire{end{router, "servers", routerAddress + "/24"}, end{switch0, router, ""}},
			wire{end{director, "eth0", dip.String() + "/24"}, end{switch0, director, ""}})
		t.addServers(servers, "192.0.2.", routerAddress)
	}
	return t
}

func (t *topology) connect(wires ...wire) { t.wires = append(t.wires, wires...) }

// addServers puts rs1, rs2, ... on the switch, with addresses from .11 on.
func (t *topology) addServers(count int, network, gateway string) {
	for i := 1; i <= count; i++ {
		s := Server{Name: "rs" + strconv.Itoa(i), RIP: netip.MustParseAddr(fmt.Sprint(network, 10+i))}
		t.servers = append(t.servers, s)
		t.connect(wire{end{s.Name, "eth0", s.RIP.String() + "/24"}, end{switch0, s.Name, ""}})
		t.gateways[s.Name] = gateway
	}
}

// nodes returns the names of all nodes, in the order of the drawing.
func (t *topology) nodes() []string {
	names := []string{client, router, director, switch0}
	for _, s := range t.servers {
		names = append(names, s.Name)
	}
	return names
}

// linksOf returns the names of a node's links.
func (t *topology) linksOf(node string) []string {
	var links []string
	for _, w := range t.wires {
		for _, e := range []end{w.a, w.b} {
			if e.node == node {
				links = append(links, e.link)
			}
		}
	}
	return links
}
