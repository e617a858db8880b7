// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// newNetwork makes a method's network and nothing that runs in it.
func newNetwork(t *testing.T, method Method, family int, xdp string) *Cluster {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	c := &Cluster{
		Method:   method,
		options:  Options{Name: fmt.Sprintf("test-%d", os.Getpid()), XDP: xdp, Family: family},
		topology: topologyOf(method, 2, family),
		nodes:    make(map[string]*host.Namespace),
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := c.makeNetwork(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNetworksConnect(t *testing.T) {
	for family, clients := range map[int]string{4: "198.51.100.2", 6: "2001:db8:3::2"} {
		for _, method := range []Method{NAT, TUN, DR} {
			t.Run(fmt.Sprint(method, family), func(t *testing.T) {
				c := newNetwork(t, method, family, "native")
				reach(t, c, client, director, c.topology.dip)
				for _, s := range c.topology.servers {
					reach(t, c, director, s.Name, s.RIP)
					if method != NAT { // whose private servers nobody but the director can answer
						reach(t, c, s.Name, client, netip.MustParseAddr(clients))
					}
				}
			})
		}
	}
}

// reach sends a word from one node to an address of another.
func reach(t *testing.T, c *Cluster, from, to string, address netip.Addr) {
	t.Helper()
	var listener net.Listener
	err := c.Node(to).Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(address, 7000).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			fmt.Fprint(conn, to)
			conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := dialFrom(c.Node(from))(ctx, "tcp", netip.AddrPortFrom(address, 7000).String())
	if err != nil {
		t.Fatalf("from %s to %s: %v", from, to, err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != to {
		t.Errorf("from %s to %s: %q, %v; want %q", from, to, got, err, to)
	}
}

func TestPrivateServersHaveADefaultRouteOnly(t *testing.T) {
	c := newNetwork(t, NAT, 4, "generic")
	err := c.Node("rs1").Do(func() error {
		routes, err := host.DefaultRoutes(c.topology.gateway)
		if want := c.topology.gateway; err == nil && (len(routes) != 1 || routes[0].Gateway != want) {
			t.Errorf("default routes are %+v, want one by %s", routes, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The router knows no way to private servers: clients reach them by the VIP or not at all.
	err = c.Node(router).Do(func() error { _, err := host.PathTo(c.topology.servers[0].RIP); return err })
	if err == nil {
		t.Error("the router has a way to a private server")
	}
}

func TestNativeNeighboursTakeFrames(t *testing.T) {
	for xdp, want := range map[string]host.XDPMode{"native": host.NativeXDP, "generic": host.NoXDP, "auto": host.NoXDP} {
		c := newNetwork(t, TUN, 4, xdp)
		err := c.Node(router).Do(func() error {
			link, err := host.LinkByName(director)
			if link.XDP != want {
				t.Errorf("xdp %s: the director's neighbour runs %q, want %q", xdp, link.XDP, want)
			}
			return err
		})
		if err := errors.Join(err, c.Remove()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveEndsProcesses(t *testing.T) {
	c := newNetwork(t, DR, 4, "generic")
	command := c.Node("rs1").Command("/bin/sh", "-c", "trap '' TERM; echo ready; read line")
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- command.Wait() }()
	if err := host.Remove([]*host.Namespace{c.Node("rs1")}, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a process that does not listen to SIGTERM ended by itself")
		}
	case <-time.After(time.Minute):
		t.Error("process is still running")
		command.Process.Kill()
	}
	if _, err := host.OpenNamespace(c.Node("rs1").Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("namespace after Remove: %v, want %v", err, os.ErrNotExist)
	}
}
