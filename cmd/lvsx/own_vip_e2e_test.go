// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// A real server that connects to its own VIP reaches others if their answers pass the
// director, which they do from another network. On the same segment they go straight
// to it, from an address that it did not speak to; and what comes back to itself is
// from its own address. The kernel's IPVS does the same: it changes no source, either.
func TestRealServerAsClientOfNAT(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, options := range []lab.Options{{XDP: "native", Family: 4}, {XDP: "native", Family: 6}, {XDP: "generic", Family: 4}} {
		t.Run(fmt.Sprint(options.XDP, options.Family), func(t *testing.T) {
			c := newCluster(t, lab.NAT, options)
			gateway, itself, neighbour := addressToward(t, c, c.Servers[0].RIP), c.Servers[0].RIP, c.Servers[1].RIP
			farther := addressFrom(t, c, "client", c.Service.Addr())
			addRoute(t, c, "router", netip.PrefixFrom(itself, itself.BitLen()), addressToward(t, c, farther))

			checkUnreached(t, c, "rs1", netip.Addr{}, serveByNAT(t, c, "rs1", itself, 5001), "masq-in")
			checkUnreached(t, c, "rs1", netip.Addr{}, serveByNAT(t, c, "rs2", neighbour, 5002), "masq-in")
			exchangeMegabyte(t, c, "rs1", netip.Addr{}, serveByNAT(t, c, "client", farther, 5003))
			addRoute(t, c, "rs2", netip.PrefixFrom(itself, itself.BitLen()), gateway)
			exchangeMegabyte(t, c, "rs1", netip.Addr{}, serveByNAT(t, c, "rs2", neighbour, 5004))
		})
	}
}

// With DR and TUN a real server has the VIP itself, and its director hears nothing.
func checkClientOfItself(t *testing.T, c *lab.Cluster) {
	t.Helper()
	const port = 6040
	service := netip.AddrPortFrom(c.Service.Addr(), port)
	for _, network := range []string{"tcp", "udp"} {
		configure(t, c, "-A", "-"+network[:1], service.String(), "-s", "rr")
		configure(t, c, "-a", "-"+network[:1], service.String(), "-r", netip.AddrPortFrom(c.Servers[1].RIP, port).String(), optionOf[c.Method])
		returnAll(t, c, "rs1", network, service)
	}
	exchangeMegabyte(t, c, "rs1", netip.Addr{}, service)
	checkConns(t, c, service, 0)
}

// serveByNAT makes a service of one real server.
func serveByNAT(t *testing.T, c *lab.Cluster, node string, rip netip.Addr, port uint16) (service netip.AddrPort) {
	t.Helper()
	service = netip.AddrPortFrom(c.Service.Addr(), port)
	server := netip.AddrPortFrom(rip, port)
	for _, network := range []string{"tcp", "udp"} {
		configure(t, c, "-A", "-"+network[:1], service.String(), "-s", "rr")
		configure(t, c, "-a", "-"+network[:1], service.String(), "-r", server.String(), "-m")
		returnAll(t, c, node, network, server)
	}
	return service
}

func addRoute(t *testing.T, c *lab.Cluster, node string, to netip.Prefix, gateway netip.Addr) {
	t.Helper()
	if err := c.Node(node).Do(func() error { return host.AddRoute(to, gateway, "") }); err != nil {
		t.Fatalf("%s: %v", node, err)
	}
}
