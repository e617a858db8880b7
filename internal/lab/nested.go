// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// innerDirector is a real server of the director in front, and the director of
// real servers of its own.
type innerDirector struct {
	Server
	name    string
	network string // the switch that its servers are on
	servers []Server
}

// addInner puts inner1 and inner2 on the switch, with addresses of a network, and
// so many real servers behind each.
func (t *topology) addInner(servers int, network string, n networks) {
	for i, private := range n.inner {
		number := fmt.Sprint(i + 1)
		inner := innerDirector{name: "inner" + number, network: switch0 + number}
		inner.Server = Server{Name: inner.name, RIP: netip.MustParseAddr(fmt.Sprint(network, 11+i))}
		t.connect(wire{end{inner.name, "eth0", inner.RIP.String() + n.bits}, end{switch0, inner.name, ""}},
			wire{end{inner.name, "eth1", private + "1" + n.bits}, end{inner.network, inner.name, ""}})
		t.gateways[inner.name] = network + "1"
		t.forwarding = append(t.forwarding, inner.name)
		t.addServers(servers, inner.network, private, n.bits)
		inner.servers = t.servers[len(t.servers)-servers:]
		t.inner = append(t.inner, inner)
	}
}

func isSwitch(node string) bool { return strings.HasPrefix(node, switch0) }

func (t *topology) isDirector(node string) bool {
	return node == director || slices.ContainsFunc(t.inner, func(i innerDirector) bool { return i.name == node })
}

// destinations are what the director knows as real servers.
func (c *Cluster) destinations() []Server {
	if !c.Method.IsNested() {
		return c.Servers
	}
	var all []Server
	for _, i := range c.topology.inner {
		all = append(all, i.Server)
	}
	return all
}

// startInner starts the inner directors, each with the VIP, as every real server
// needs it, and the same service.
func (c *Cluster) startInner(ctx context.Context) error {
	for _, i := range c.topology.inner {
		if err := c.tell(i.name, "realserver", "up", "--method", string(DR), "--vip", c.topology.vip.String()); err != nil {
			return err
		}
		if err := c.RestartInner(ctx, i.name, c.frontArgs()...); err != nil {
			return err
		}
		if err := c.tell(i.name, "ipvsadm", "-A", "-t", c.Service.String(), "-s", "rr"); err != nil {
			return err
		}
		for _, s := range i.servers {
			rip := netip.AddrPortFrom(s.RIP, c.Method.port()).String()
			if err := c.tell(i.name, "ipvsadm", "-a", "-t", c.Service.String(), "-r", rip, NAT.forwarding().Option()); err != nil {
				return err
			}
		}
	}
	return nil
}

// RestartInner starts an inner director with options in the place of one that may
// run, which ends as by a crash.
func (c *Cluster) RestartInner(ctx context.Context, name string, options ...string) error {
	if err := c.KillInner(name); err != nil {
		return err
	}
	process, err := c.startDirectorOn(ctx, name, options...)
	c.inner[name] = process
	return err
}

// KillInner ends an inner director as a crash would, if it runs.
func (c *Cluster) KillInner(name string) error {
	if c.inner[name] == nil {
		return nil
	}
	return c.inner[name].kill()
}

// frontArgs tell an inner director of the one in front, if that sends tunnels.
func (c *Cluster) frontArgs() []string {
	if c.Method != Nested {
		return nil
	}
	args := []string{"--front", c.topology.dip.String()}
	if i := slices.Index(c.options.Tunnel, "--tun-port"); i >= 0 {
		args = append(args, c.options.Tunnel[i:i+2]...)
	}
	return args
}

// PassedInner asks the inner directors for their services' counters, by their
// names; nil if there are none.
func (c *Cluster) PassedInner() (map[string]Passed, error) {
	if !c.Method.IsNested() {
		return nil, nil
	}
	all := make(map[string]Passed)
	for _, i := range c.topology.inner {
		p, err := c.passedBy(i.name)
		if err != nil {
			return nil, err
		}
		all[i.name] = p
	}
	return all, nil
}
