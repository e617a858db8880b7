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
//
// Nested: real servers of TUN that are directors themselves, of NAT. What they
// send back takes the router. With DR in front they are on its segment.
//
//	          198.51.100.0/24       192.0.2.0/24
//	+--------+ .2         .1 +--------+ .1     .2 +----------+
//	| client |---------------| router |-----------| director |
//	+--------+               +--------+           |   VIP    |
//	                          .1 |                +----------+
//	                             | 203.0.113.0/24           10.0.1.0/24
//	                         +--------+ .11 +--------+ .1 +---------+ .11 +-----+
//	                         | switch |-----| inner1 |----| switch1 |-----| rs1 |
//	                         |        |     +--------+    |         |-----| rs2 |
//	                         |        |                   +---------+ .12 +-----+
//	                         |        |                     10.0.2.0/24
//	                         |        | .12 +--------+ .1 +---------+ .11 +-----+
//	                         |        |-----| inner2 |----| switch2 |-----| rs3 |
//	                         +--------+     +--------+    |         |-----| rs4 |
//	                                                      +---------+ .12 +-----+
//
// With IPv6 the networks are 2001:db8:3::/64, 2001:db8:1::/64, fd00::/64 and
// 2001:db8:2::/64, fd00:1::/64 and fd00:2::/64, and hosts have the same numbers.
type topology struct {
	vip, dip   netip.Addr
	gateway    netip.Addr // NAT: the director's address in front of private real servers
	wires      []wire
	gateways   map[string]string // node → where its default route leads
	forwarding []string          // nodes that pass on packets of others
	servers    []Server
	inner      []innerDirector
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

const maxServers = 99

// networks are the prefixes of addresses in text, and their length.
type networks struct {
	clients, front, remote, private string
	inner                           [2]string // behind inner directors
	bits                            string
}

// networksOf returns those of a family: of IPv4 TEST-NET-1 to 3 of RFC 5737, of
// IPv6 parts of RFC 3849's, and private ones.
func networksOf(family int) networks {
	if family == 6 {
		return networks{"2001:db8:3::", "2001:db8:1::", "2001:db8:2::", "fd00::", [2]string{"fd00:1::", "fd00:2::"}, "/64"}
	}
	return networks{"198.51.100.", "192.0.2.", "203.0.113.", "10.0.0.", [2]string{"10.0.1.", "10.0.2."}, "/24"}
}

func topologyOf(method Method, servers, family int) topology {
	n := networksOf(family)
	t := topology{
		vip: netip.MustParseAddr(n.front + "80"), dip: netip.MustParseAddr(n.front + "2"),
		gateway:    netip.MustParseAddr(n.private + "1"),
		wires:      []wire{{end{client, "eth0", n.clients + "2" + n.bits}, end{router, client, n.clients + "1" + n.bits}}},
		gateways:   map[string]string{client: n.clients + "1", director: n.front + "1"},
		forwarding: []string{router},
	}
	routerInFront, directorInFront := n.front+"1"+n.bits, n.front+"2"+n.bits
	toDirector := wire{end{router, director, routerInFront}, end{director, "eth0", directorInFront}}
	onSwitch := []wire{
		{end{router, "servers", routerInFront}, end{switch0, router, ""}},
		{end{director, "eth0", directorInFront}, end{switch0, director, ""}},
	}
	switch method {
	case NAT:
		t.connect(toDirector, wire{end{director, "eth1", n.private + "1" + n.bits}, end{switch0, director, ""}})
		t.forwarding = append(t.forwarding, director)
		t.addServers(servers, switch0, n.private, n.bits)
	case TUN:
		t.connect(toDirector, wire{end{router, "servers", n.remote + "1" + n.bits}, end{switch0, router, ""}})
		t.addServers(servers, switch0, n.remote, n.bits)
	case Nested:
		t.connect(toDirector, wire{end{router, "servers", n.remote + "1" + n.bits}, end{switch0, router, ""}})
		t.addInner(servers, n.remote, n)
	case NestedDR:
		t.connect(onSwitch...)
		t.addInner(servers, n.front, n)
	case DR:
		t.connect(onSwitch...)
		t.addServers(servers, switch0, n.front, n.bits)
	}
	return t
}

func (t *topology) connect(wires ...wire) { t.wires = append(t.wires, wires...) }

// addServers puts rs1, rs2, ... on a switch, with addresses from .11 on. Their
// gateway is .1.
func (t *topology) addServers(count int, on, network, bits string) {
	for i := 1; i <= count; i++ {
		s := Server{Name: "rs" + strconv.Itoa(len(t.servers)+1), RIP: netip.MustParseAddr(fmt.Sprint(network, 10+i))}
		t.servers = append(t.servers, s)
		t.connect(wire{end{s.Name, "eth0", s.RIP.String() + bits}, end{on, s.Name, ""}})
		t.gateways[s.Name] = network + "1"
	}
}

// nodes returns the names of all nodes, in the order of the drawing.
func (t *topology) nodes() []string {
	names := []string{client, router, director, switch0}
	for _, i := range t.inner {
		names = append(names, i.name, i.network)
	}
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
