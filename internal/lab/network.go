// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

const bridge = "br0"

var everywhere = map[int]netip.Prefix{4: netip.MustParsePrefix("0.0.0.0/0"), 6: netip.MustParsePrefix("::/0")}

// makeNetwork makes the namespaces of a topology and all between them. What
// it has made when it fails is in the cluster, for Remove.
func (c *Cluster) makeNetwork(ctx context.Context) error {
	for _, name := range c.topology.nodes() {
		node, err := host.NewNamespace(NodeName(c.options.Name, string(c.Method)+"-"+name))
		if err != nil {
			return err
		}
		c.nodes[name] = node
		if err := node.Do(func() error { return quieten(c.options.Family) }); err != nil {
			return err
		}
	}
	for name, node := range c.nodes {
		if !isSwitch(name) {
			continue
		}
		if err := node.Do(func() error { return errors.Join(host.AddBridge(bridge), host.SetUp(bridge)) }); err != nil {
			return err
		}
	}
	for _, w := range c.topology.wires {
		if err := c.connect(w); err != nil {
			return err
		}
	}
	if err := c.route(); err != nil {
		return err
	}
	return c.awaitLinks(ctx)
}

// linksLimit is how long links may take to come up. The kernel looks for
// changes of links but once a second (net/core/link_watch.c).
const linksLimit = 5 * time.Second

// awaitLinks returns when all links run. Until then they drop what they shall
// send, and bridges do not forward: the first packets of the lab would need
// repeating.
func (c *Cluster) awaitLinks(ctx context.Context) error {
	for _, node := range c.topology.nodes() {
		err := poll(ctx, linksLimit, func() error {
			return c.nodes[node].Do(func() error { return checkRunning(c.topology.linksOf(node)) })
		})
		if err != nil {
			return fmt.Errorf("prepare %s: %w", node, err)
		}
	}
	return nil
}

func checkRunning(links []string) error {
	for _, name := range links {
		link, err := host.LinkByName(name)
		if err != nil {
			return err
		}
		if !link.Running {
			return fmt.Errorf("%s does not come up", name)
		}
	}
	return nil
}

// quieten keeps out of a node what would only blur the picture: IPv6, unless
// that is the family, and a filter that takes replies from a VIP, which come in
// at another link of the router than requests to it go out, for forged.
func quieten(family int) error {
	for _, link := range []string{"all", "default"} {
		if err := host.InterfaceSysctl(link, "rp_filter").Write(0); err != nil {
			return err
		}
		ipv6, value := host.Sysctl("net/ipv6/conf/"+link+"/disable_ipv6"), 1
		if family == 6 { // and nobody waits for addresses to prove unique
			ipv6, value = host.Sysctl("net/ipv6/conf/"+link+"/accept_dad"), 0
		}
		if err := ipv6.Write(value); err != nil && (family == 6 || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func (c *Cluster) connect(w wire) error {
	a, b := c.nodes[w.a.node], c.nodes[w.b.node]
	if err := host.AddVeth(host.VethEnd{Namespace: a, Name: w.a.link}, host.VethEnd{Namespace: b, Name: w.b.link}); err != nil {
		return err
	}
	for _, pair := range [][2]end{{w.a, w.b}, {w.b, w.a}} {
		this, other := pair[0], pair[1]
		if err := c.nodes[this.node].Do(func() error { return c.prepare(this, other) }); err != nil {
			return fmt.Errorf("prepare %s of %s: %w", this.link, this.node, err)
		}
	}
	return nil
}

// prepare runs in the end's node.
func (c *Cluster) prepare(e, other end) error {
	if c.topology.isDirector(other.node) && c.options.XDP == "native" {
		if err := host.AcceptFrames(e.link); err != nil {
			return err
		}
	}
	if !c.options.Offload && (e.node == client || strings.HasPrefix(e.node, "rs")) {
		// On a veth a checksum stays unfinished until hardware would send it;
		// what the director makes of the packet never gets there.
		if err := host.DisableTransmitOffload(e.link); err != nil {
			return err
		}
	}
	if isSwitch(e.node) {
		if err := host.SetBridge(e.link, bridge); err != nil {
			return err
		}
	} else if _, err := host.AddAddress(e.link, netip.MustParsePrefix(e.address)); err != nil {
		return err
	}
	return host.SetUp(e.link)
}

// route comes when all links are up: a route needs that of its gateway.
func (c *Cluster) route() error {
	for node, gateway := range c.topology.gateways {
		add := func() error { return host.AddRoute(everywhere[c.options.Family], netip.MustParseAddr(gateway), "") }
		if err := c.nodes[node].Do(add); err != nil {
			return fmt.Errorf("prepare %s: %w", node, err)
		}
	}
	switches := map[int]host.Sysctl{4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
	for _, node := range c.topology.forwarding {
		forward := func() error { return switches[c.options.Family].Write(1) }
		if err := c.nodes[node].Do(forward); err != nil {
			return fmt.Errorf("prepare %s: %w", node, err)
		}
	}
	return nil
}
