// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// A client stays with its real server, whoever the director is, until it is
// told to let go of one without weight.
func TestClusterPersists(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, method := range []lab.Method{lab.NAT, lab.TUN, lab.DR} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("%s%d", method, family), func(t *testing.T) {
				testPersistence(t, newCluster(t, method, lab.Options{XDP: "generic", Family: family}))
			})
		}
	}
}

func testPersistence(t *testing.T, c *lab.Cluster) {
	t.Helper()
	say := func(args ...string) string {
		t.Helper()
		said, err := c.Lvsx("director", args...)
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	say("ipvsadm", "-E", "-t", c.Service.String(), "-s", "rr", "-p", "300")
	server := onlyServer(t, c)

	if err := c.KillDirector(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartDirector(context.Background()); err != nil {
		t.Fatal(err)
	}
	if again := onlyServer(t, c); again != server {
		t.Errorf("with another director: %s, before %s", again, server)
	}
	if listed := say("connections", "--state", "ASSURED", "-o", "json"); strings.Count(listed, `"template":true`) != 1 {
		t.Errorf("templates: %s", listed)
	}

	for line := range strings.Lines(say("ipvsadm", "-S", "-n")) {
		if strings.Contains(line, "-r "+addressOf(c, server)) {
			say(append([]string{"ipvsadm"}, strings.Fields(strings.NewReplacer("-a", "-e", "-w 1", "-w 0").Replace(line))...)...)
		}
	}
	if again := onlyServer(t, c); again != server {
		t.Errorf("without weight: %s, before %s", again, server)
	}
	say("set", "expire_quiescent_template", "1")
	if again := onlyServer(t, c); again == server {
		t.Errorf("with expire_quiescent_template: still %s", server)
	}
}

// addressOf returns the beginning of a server's address and port, as ipvsadm
// prints it.
func addressOf(c *lab.Cluster, server string) string {
	for _, s := range c.Servers {
		if s.Name == server {
			return strings.TrimSuffix(netip.AddrPortFrom(s.RIP, 0).String(), "0")
		}
	}
	return server
}

// onlyServer sends requests, all of which must be answered by one real server.
func onlyServer(t *testing.T, c *lab.Cluster) (server string) {
	t.Helper()
	round, err := c.Send(context.Background(), 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, answered := range round.PerServer {
		if answered == 20 {
			server = name
		}
	}
	if server == "" {
		t.Fatalf("%d failed, answered by %v", round.Failed, round.PerServer)
	}
	return server
}
