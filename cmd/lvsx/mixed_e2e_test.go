// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// Tunnels of one family carry services of the other: megabytes both ways over paths of
// 1500 bytes, and datagrams.
func TestMixedFamilies(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, xdp := range []string{"generic", "native"} {
		t.Run(xdp, func(t *testing.T) {
			c := newCluster(t, lab.TUN, lab.Options{XDP: xdp, Family: 6})
			addIPv4(t, c)
			port := uint16(5000)
			for _, tunnel := range []string{"--tun-type ipip", "--tun-type gre --tun-csum", "--tun-type gue --tun-port 6080 --tun-csum"} {
				for vip, rip := range map[string]string{"192.0.2.80": "2001:db8:2::11", "2001:db8:1::80": "203.0.113.11"} {
					port++
					t.Run(fmt.Sprintf("%s to %s %s", vip, rip, tunnel), func(t *testing.T) {
						service := netip.AddrPortFrom(netip.MustParseAddr(vip), port)
						for protocol, network := range map[string]string{"-t": "tcp", "-u": "udp"} {
							configure(t, c, "-A", protocol, service.String(), "-s", "rr")
							destination := []string{"-a", protocol, service.String(), "-r", netip.AddrPortFrom(netip.MustParseAddr(rip), port).String(), "-i"}
							configure(t, c, slices.Concat(destination, strings.Fields(tunnel))...)
							returnAll(t, c, "rs1", network, service)
						}
						exchangeMegabyte(t, c, "client", netip.Addr{}, service)
					})
				}
			}
		})
	}
}

// addIPv4 gives a cluster of IPv6 the addresses of IPv4, too, and has rs1 take
// all tunnels of both.
func addIPv4(t *testing.T, c *lab.Cluster) {
	t.Helper()
	const everywhere = "0.0.0.0/0"
	for _, node := range []struct{ name, links, gateway string }{
		{"client", "eth0 198.51.100.2/24", "198.51.100.1"},
		{"router", "client 198.51.100.1/24 director 192.0.2.1/24 servers 203.0.113.1/24", ""},
		{"director", "eth0 192.0.2.2/24", "192.0.2.1"},
		{"rs1", "eth0 203.0.113.11/24", "203.0.113.1"},
	} {
		err := c.Node(node.name).Do(func() error {
			for pair := range slices.Chunk(strings.Fields(node.links), 2) {
				if _, err := host.AddAddress(pair[0], netip.MustParsePrefix(pair[1])); err != nil {
					return err
				}
			}
			if node.gateway == "" {
				return host.Sysctl("net/ipv4/ip_forward").Write(1)
			}
			return host.AddRoute(netip.MustParsePrefix(everywhere), netip.MustParseAddr(node.gateway), "")
		})
		if err != nil {
			t.Fatalf("%s: %v", node.name, err)
		}
	}
	for node, command := range map[string]string{
		"director": "vip add 192.0.2.80/32 --interface eth0",
		"rs1": "realserver up --method tun --vip 192.0.2.80 --vip 2001:db8:1::80 --director 192.0.2.2 --director 2001:db8:1::2" +
			" --tun-type ipip --tun-type gre --tun-type gue --tun-port 6080",
	} {
		if _, err := c.Lvsx(node, strings.Fields(command)...); err != nil {
			t.Fatal(err)
		}
	}
}
