// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/lab"
)

// idle is a connection of which nobody says anything.
type idle struct {
	client, server net.Conn
}

// connectIdle makes a service of one real server, on a port of its own, and a
// connection to it.
func connectIdle(t *testing.T, c *lab.Cluster) (service string, conn idle) {
	t.Helper()
	service = net.JoinHostPort(c.Service.Addr().String(), "7000")
	rs := c.Servers[0]
	var listener net.Listener
	err := c.Node(rs.Name).Do(func() (err error) {
		listener, err = net.Listen("tcp", ":7000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	mustLvsx(t, c, "ipvsadm", "-A", "-t", service)
	t.Cleanup(func() { mustLvsx(t, c, "ipvsadm", "-D", "-t", service) })
	mustLvsx(t, c, "ipvsadm", "-a", "-t", service, "-r", net.JoinHostPort(rs.RIP.String(), "7000"), optionOf[c.Method])
	err = c.Node("client").Do(func() (err error) {
		conn.client, err = net.DialTimeout("tcp", service, patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if conn.server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.client.Close()
		conn.server.Close()
	})
	return service, conn
}

func mustLvsx(t *testing.T, n nodes, args ...string) string {
	t.Helper()
	out, err := n.Lvsx("director", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantReset wants an end of a connection to be reset soon, without a word of its own.
func wantReset(t *testing.T, who string, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the %s hears: %v", who, err)
	}
}

// Killed connections are reset at both ends, though nobody speaks.
func checkKillIdle(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service, conn := connectIdle(t, c)
	if out := mustLvsx(t, c, "connections", "kill", "--vip", service, "--dry-run"); out != "1 TCP connections would be reset, 0 others would be forgotten\n" {
		t.Errorf("dry run: %s", out)
	}
	if out := mustLvsx(t, c, "connections", "kill", "--vip", service); out != "1 TCP connections reset, 0 others forgotten\n" {
		t.Error(out)
	}
	wantReset(t, "client", conn.client)
	wantReset(t, "server", conn.server)
}

// A service can have both ends told when a real server is removed.
func checkRemovedIsTold(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service, conn := connectIdle(t, c)
	mustLvsx(t, c, "service", "set", "-t", service, "--removed", "reset")
	if out := mustLvsx(t, c, "list"); !strings.HasSuffix(out, fmt.Sprintf("\nlvsx service set -t %s --removed reset\n", service)) {
		t.Errorf("listed as\n%s", out)
	}
	mustLvsx(t, c, "ipvsadm", "-d", "-t", service, "-r", net.JoinHostPort(c.Servers[0].RIP.String(), "7000"))
	wantReset(t, "client", conn.client)
	wantReset(t, "server", conn.server)
}
