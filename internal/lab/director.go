// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

// readyLimit is generous: a verifier on an emulated machine takes half of it.
const readyLimit = 60 * time.Second

// StartDirector starts the director and returns when it answers.
func (c *Cluster) StartDirector(ctx context.Context) (err error) {
	c.director, err = c.startDirectorOn(ctx, director)
	return err
}

func (c *Cluster) startDirectorOn(ctx context.Context, node string, options ...string) (*process, error) {
	args := []string{"director"}
	for _, link := range c.topology.linksOf(node) {
		args = append(args, "--interface", link)
	}
	if c.options.XDP != "auto" {
		args = append(args, "--xdp", c.options.XDP)
	}
	args = append(args, options...)
	c.announce(node, args...)
	process, err := start(c.command(node, args...), c.logOf(node))
	if err != nil {
		return nil, err
	}
	return process, process.awaitReady(ctx, readyLimit, func() error {
		_, err := c.Lvsx(node, "status", "-o", "json")
		return err
	})
}

// KillDirector ends the director as a crash would.
func (c *Cluster) KillDirector() error { return c.director.kill() }

// DirectorXDP returns how the director's first link runs its program.
func (c *Cluster) DirectorXDP() (host.XDPMode, error) {
	var mode host.XDPMode
	err := c.nodes[director].Do(func() error {
		link, err := host.LinkByName(c.topology.linksOf(director)[0])
		if err == nil && link.XDP == host.NoXDP {
			err = fmt.Errorf("director runs, but no XDP program on its %s", link.Name)
		}
		mode = link.XDP
		return err
	})
	return mode, err
}

func (c *Cluster) addService(context.Context) error {
	if err := c.tell(director, "vip", "add", netip.PrefixFrom(c.topology.vip, c.topology.vip.BitLen()).String(), "--interface", "eth0"); err != nil {
		return err
	}
	if err := c.tell(director, "ipvsadm", "-A", "-t", c.Service.String(), "-s", "rr"); err != nil {
		return err
	}
	for _, s := range c.destinations() {
		if err := c.tell(director, c.destinationArgs("-a", s)...); err != nil {
			return err
		}
	}
	return nil
}

// SetWeights changes the service to weighted round robin. The weights are the
// servers', in order; when there are fewer, they begin again.
func (c *Cluster) SetWeights(weights []int) error {
	if err := c.tell(director, "ipvsadm", "-E", "-t", c.Service.String(), "-s", "wrr"); err != nil {
		return err
	}
	c.weights = weights
	for i, s := range c.Servers {
		weight := strconv.Itoa(c.weight(i))
		err := c.tell(director, append(c.destinationArgs("-e", s), "-w", weight)...)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) destinationArgs(op string, s Server) []string {
	args := []string{"ipvsadm", op, "-t", c.Service.String(), "-r", c.destination(s), c.Method.forwarding().Option()}
	return slices.Concat(args, c.options.Tunnel)
}

func (c *Cluster) weight(server int) int { return c.weights[server%len(c.weights)] }

func (c *Cluster) destination(s Server) string {
	port := c.Method.port()
	if c.Method.IsNested() { // neither tunnel nor MAC changes it
		port = c.Service.Port()
	}
	return netip.AddrPortFrom(s.RIP, port).String()
}
