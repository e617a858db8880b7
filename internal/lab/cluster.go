// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

// Options are what all clusters of a lab have in common.
type Options struct {
	Name    string // tells labs on one machine apart; the usual one is "lab"
	Program string // path of the lvsx binary that does all work in the nodes
	Logs    string // directory for what the processes in the nodes say
	Servers int    // real servers of each cluster, 1 to 99
	Family  int    // of all addresses: 4 or 6, 0 is 4
	XDP     string // auto, native or generic: how the director attaches
	Offload bool   // clients and real servers leave checksums unfinished and send what is merged beyond the MTU

	// Tunnel is how the director of TUN wraps packets, in ipvsadm's options,
	// such as --tun-type gre; none: IPIP.
	Tunnel []string

	// Told, if set, hears each command before it runs, as it could be typed
	// in that node.
	Told func(node, command string)
}

// NodeName returns the name of the namespace of a lab's node, such as
// dr-client.
func NodeName(lab, node string) string { return "lvsx-" + lab + "-" + node }

var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func checkName(lab string) error {
	if !nameRule.MatchString(lab) {
		return fmt.Errorf("name of lab %q: not one of small letters, digits and hyphens", lab)
	}
	return nil
}

func (o Options) check() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Servers < 1 || o.Servers > maxServers {
		return fmt.Errorf("servers %d: a lab has 1 to %d", o.Servers, maxServers)
	}
	if o.Family != 0 && o.Family != 4 && o.Family != 6 {
		return fmt.Errorf("family %d: neither 4 nor 6", o.Family)
	}
	switch o.XDP {
	case "auto", "native", "generic":
		return nil
	}
	return fmt.Errorf("xdp %q: not one of auto, native, generic", o.XDP)
}

// Cluster is one method's network with all that runs in it.
type Cluster struct {
	Method  Method
	Service netip.AddrPort // where clients connect to
	Servers []Server

	options  Options
	topology topology
	nodes    map[string]*host.Namespace
	director *process
	inner    map[string]*process
	weights  []int // nil: round robin
}

// patience is how long processes have to obey SIGTERM.
const patience = 5 * time.Second

// Build makes a cluster that balances by round robin. If it fails, or ctx
// ends, nothing of the cluster is left.
func Build(ctx context.Context, method Method, options Options) (*Cluster, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	options.Family = cmp.Or(options.Family, 4)
	t := topologyOf(method, options.Servers, options.Family)
	c := &Cluster{
		Method:   method,
		Service:  netip.AddrPortFrom(t.vip, 80),
		Servers:  t.servers,
		options:  options,
		topology: t,
		nodes:    make(map[string]*host.Namespace),
		inner:    make(map[string]*process),
	}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Cluster) build(ctx context.Context) error {
	steps := []func(context.Context) error{
		c.makeNetwork,
		c.startServers,
		c.startInner,
		c.StartDirector,
		c.addService,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// errLeft is in errors that mean that something may be left of a cluster.
var errLeft = errors.New("take lab down (`lvsx lab down` tries again)")

// Remove ends what runs in the cluster and takes it down. Twice is harmless.
func (c *Cluster) Remove() error {
	var namespaces []*host.Namespace
	for _, n := range c.nodes {
		namespaces = append(namespaces, n)
	}
	if err := host.Remove(namespaces, patience); err != nil {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	return nil
}

// Node returns the namespace of a node: client, router, director, switch or a
// real server by its name; nil if there is none.
func (c *Cluster) Node(name string) *host.Namespace { return c.nodes[name] }

// URL is what clients ask for in each cluster.
func (o Options) URL() string {
	vip := topologyOf(DR, 1, o.Family).vip
	return urlOf(netip.AddrPortFrom(vip, 80))
}

func urlOf(service netip.AddrPort) string {
	return "http://" + strings.TrimSuffix(service.String(), ":80") + "/"
}

// URL is what clients ask for.
func (c *Cluster) URL() string {
	return urlOf(c.Service)
}

// Lvsx runs the lvsx binary in a node and returns what it says.
func (c *Cluster) Lvsx(node string, args ...string) (string, error) {
	command := c.command(node, args...)
	var complaint strings.Builder
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: lvsx %s: %w\n  %s", node, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// tell announces a command and runs it.
func (c *Cluster) tell(node string, args ...string) error {
	c.announce(node, args...)
	_, err := c.Lvsx(node, args...)
	return err
}

func (c *Cluster) announce(node string, args ...string) {
	if c.options.Told == nil {
		return
	}
	if args[0] != "ipvsadm" {
		args = append([]string{"lvsx"}, args...)
	}
	c.options.Told(node, strings.Join(args, " "))
}

func (c *Cluster) command(node string, args ...string) *host.Command {
	command := c.nodes[node].Command(c.options.Program, args...)
	command.Args[0] = "lvsx"
	return command
}

func (c *Cluster) startServers(context.Context) error {
	for _, s := range c.Servers {
		if err := c.startServer(s); err != nil {
			return err
		}
		if err := c.tell(s.Name, c.realserverArgs(s)...); err != nil {
			return err
		}
	}
	return nil
}

// startServer hands the server a socket that listens already, so that nobody
// has to wait for it.
func (c *Cluster) startServer(s Server) error {
	var listener net.Listener
	err := c.nodes[s.Name].Do(func() (err error) {
		listener, err = net.Listen(fmt.Sprint("tcp", c.options.Family), ":"+strconv.Itoa(int(c.Method.port())))
		return err
	})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Name, err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Name, err)
	}
	defer socket.Close()
	command := c.command(s.Name, "lab", "serve", s.Name)
	command.ExtraFiles = []*os.File{socket}
	_, err = start(command, c.logOf(s.Name))
	return err
}

func (c *Cluster) realserverArgs(s Server) []string {
	args := []string{"realserver", "up", "--method", string(c.Method)}
	switch c.Method {
	case Nested, NestedDR:
		return []string{"realserver", "up", "--method", string(NAT), "--director", c.topology.gateways[s.Name]}
	case NAT:
		return append(args, "--director", c.topology.gateway.String())
	case TUN:
		return slices.Concat(args, []string{"--vip", c.topology.vip.String(), "--director", c.topology.dip.String()}, c.tunnelArgs())
	}
	return append(args, "--vip", c.topology.vip.String())
}

// Tunnel is how the director wraps packets, in ipvsadm's options.
func (c *Cluster) Tunnel() []string { return c.options.Tunnel }

// tunnelArgs are the director's options that a real server has, too.
func (c *Cluster) tunnelArgs() []string {
	var args []string
	for i, option := range c.options.Tunnel {
		if option == "--tun-type" || option == "--tun-port" {
			args = append(args, option, c.options.Tunnel[i+1])
		}
	}
	return args
}

func (c *Cluster) logOf(node string) string {
	return filepath.Join(c.options.Logs, c.nodes[node].Name()+".log")
}
