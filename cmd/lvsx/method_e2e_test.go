// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// A method as a service's server is changed to it, and how packets go by it.
type wayToServer struct{ option, verdict string }

// waysToServer have each method follow each other.
var waysToServer = []wayToServer{
	{"-m", "masq-in"}, {"-g", "route"}, {"-i", "tunnel"}, {"-m", "masq-in"},
	{"-i --tun-type gre", "tunnel"}, {"-g", "route"}, {"-m", "masq-in"}, {"-i --tun-type gue --tun-port 6080", "tunnel"},
}

// Connections live through any change of their service's method: each goes on by
// the one that it began with, and the next by the new one.
func TestChangeOfMethod(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprint(family), func(t *testing.T) {
			testChangeOfMethod(t, newCluster(t, lab.DR, lab.Options{XDP: "generic", Family: family}))
		})
	}
}

func testChangeOfMethod(t *testing.T, c *lab.Cluster) {
	t.Helper()
	takeAnyMethod(t, c)
	service, first := connectIdle(t, c) // by -g
	go func() { _, _ = io.Copy(first.server, first.server) }()
	listener := echoServer(t, c)
	defer listener.Close()
	said := map[net.Conn]wayToServer{first.client: {"-g", "route"}}
	for _, way := range waysToServer {
		edit := append([]string{"ipvsadm", "-e", "-t", service, "-r", net.JoinHostPort(c.Servers[0].RIP.String(), "7000")}, strings.Fields(way.option)...)
		mustLvsx(t, c, edit...)
		said[dialService(t, c, service)] = way
		for conn, its := range said {
			before := packetsOf(t, c, its.verdict)
			if err := sayAndHear(conn, "a message after "+way.option); err != nil {
				t.Fatalf("a connection by %s, after a change to %s: %v", its.option, way.option, err)
			}
			if packetsOf(t, c, its.verdict) == before {
				t.Errorf("a connection by %s, after a change to %s: went another way", its.option, way.option)
			}
		}
	}
	listed := mustLvsx(t, c, "ipvsadm", "-L", "-n", "-c")
	if got := strings.Count(listed, "ESTABLISHED"); got != len(said) {
		t.Errorf("%d connections are listed as established, want %d:\n%s", got, len(said), listed)
	}
}

// takeAnyMethod prepares the first real server for all methods: what it says of
// itself goes back through the director, what it says as the VIP does not.
func takeAnyMethod(t *testing.T, c *lab.Cluster) {
	t.Helper()
	node, rip := c.Node(c.Servers[0].Name), c.Servers[0].RIP
	var director string
	ip := "-4"
	if rip.Is6() {
		ip = "-6"
	}
	for line := range strings.Lines(mustOutput(t, c.Node("director").Command("/bin/ip", "-o", ip, "addr", "show", "dev", "eth0", "scope", "global"))) {
		if address, _, _ := strings.Cut(strings.Fields(line)[3], "/"); address != c.Service.Addr().String() {
			director = address
		}
	}
	args := strings.Fields("realserver up --method tun --tun-type ipip,gre,gue --tun-port 6080 --director " + director + " --vip " + c.Service.Addr().String())
	if _, err := c.Lvsx(c.Servers[0].Name, args...); err != nil {
		t.Fatal(err)
	}
	mustOutput(t, node.Command("/bin/ip", ip, "rule", "add", "from", rip.String(), "table", "100"))
	mustOutput(t, node.Command("/bin/ip", ip, "route", "add", "default", "via", director, "table", "100"))
}

func mustOutput(t *testing.T, command interface{ CombinedOutput() ([]byte, error) }) string {
	t.Helper()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return string(out)
}

// echoServer says what it hears, on the port of connectIdle's service.
func echoServer(t *testing.T, c *lab.Cluster) net.Listener {
	t.Helper()
	var listener net.Listener
	err := c.Node(c.Servers[0].Name).Do(func() (err error) {
		listener, err = net.Listen("tcp", ":7000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener
}

func dialService(t *testing.T, c *lab.Cluster, service string) net.Conn {
	t.Helper()
	var conn net.Conn
	err := c.Node("client").Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", service, patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sayAndHear sends a message and wants it back.
func sayAndHear(conn net.Conn, message string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return err
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != message {
		return fmt.Errorf("came back as %q", back)
	}
	return nil
}

// packetsOf returns how many packets had a verdict.
func packetsOf(t *testing.T, n nodes, verdict string) uint64 {
	t.Helper()
	for _, v := range askStatus(t, n).Verdicts {
		if v.Name == verdict {
			return v.Packets
		}
	}
	t.Fatalf("no verdict %s", verdict)
	return 0
}

func askStatus(t *testing.T, n nodes) (status control.Status) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustLvsx(t, n, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	return status
}
