// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/lab"
)

// A director that crashes in the middle of a transfer leaves the datapath at
// work; the next one knows the same services and connections.
func checkTransferOutlives(t *testing.T, c *lab.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// 10 MB pass with a director, 10 without one, and 10 with the next.
	crash := func(body io.Reader) io.Reader {
		var before listed
		return io.MultiReader(
			io.LimitReader(body, 10*megabyte),
			call(func() {
				before = list(t, c)
				if err := c.KillDirector(); err != nil {
					t.Error(err)
				}
			}),
			io.LimitReader(body, 10*megabyte),
			call(func() {
				if err := c.StartDirector(ctx); err != nil {
					t.Error(err)
				}
				checkListed(t, before, list(t, c))
			}),
			body)
	}
	if err := c.Upload(ctx, 30*megabyte, crash); err != nil {
		t.Error(err)
	}
	if err := c.Download(ctx, 30*megabyte, crash); err != nil {
		t.Error(err)
	}
}

// call is an empty stream whose reader does something.
type call func()

func (c call) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

// listed is what a director says that it has.
type listed struct {
	services    string            // as ipvsadm -S saves them
	connections map[string]string // their states, which go on while a director is missing
}

func list(t *testing.T, c *lab.Cluster) listed {
	t.Helper()
	services, err := c.Lvsx("director", "ipvsadm", "-S", "-n")
	if err != nil {
		t.Error(err) // on any goroutine
	}
	lines, err := c.Lvsx("director", "ipvsadm", "-L", "-n", "-c")
	if err != nil {
		t.Error(err)
	}
	l := listed{services, make(map[string]string)}
	for line := range strings.Lines(lines) {
		if fields := strings.Fields(line); len(fields) == 6 && fields[0] == "TCP" {
			l.connections[strings.Join(fields[3:], " ")] = fields[2]
		}
	}
	return l
}

// checkListed wants the same services and connections, but for those that were over.
func checkListed(t *testing.T, before, after listed) {
	t.Helper()
	if diff := cmp.Diff(before.services, after.services); diff != "" {
		t.Errorf("services (-before +after):\n%s", diff)
	}
	established := 0
	for connection, state := range before.connections {
		if state != "ESTABLISHED" {
			continue
		}
		established++
		if after.connections[connection] == "" {
			t.Errorf("%s is forgotten", connection)
		}
	}
	if established == 0 {
		t.Error("no connection is established during a transfer")
	}
	for connection := range after.connections {
		if before.connections[connection] == "" {
			t.Errorf("%s was not there before", connection)
		}
	}
}

// Requests never notice that the director dies and comes back: none fails,
// and nobody has to send a segment again.
func checkNoPacketIsLost(t *testing.T, c *lab.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, node := range ends(c) {
		bePatient(t, c, node)
	}
	before := retransmitted(t, c)
	enough := make(chan struct{})
	type sent struct {
		lab.Round
		error
	}
	rounds := make(chan sent)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		round, err := c.Send(sending, 1_000_000, func(done int) {
			if done == 20 {
				close(enough)
			}
		})
		rounds <- sent{round, err}
	}()
	<-enough
	for range 2 {
		if err := c.KillDirector(); err != nil {
			t.Error(err)
		}
		if err := c.StartDirector(ctx); err != nil {
			t.Error(err)
		}
	}
	stop()
	round := <-rounds
	if round.Failed > 0 || round.OK < 20 {
		t.Errorf("%d answered, %d failed: %v", round.OK, round.Failed, round.FirstError)
	}
	if again := retransmitted(t, c) - before; again != 0 {
		t.Errorf("%d segments were sent again; the director did with packets: %v", again, verdictsOf(t, c))
	}
}

// verdictsOf are how many packets had each verdict, if any had.
func verdictsOf(t *testing.T, c *lab.Cluster) map[string]uint64 {
	t.Helper()
	had := make(map[string]uint64)
	for _, v := range askStatus(t, c).Verdicts {
		if v.Packets > 0 {
			had[v.Name] = v.Packets
		}
	}
	return had
}

// ends are the nodes whose sockets speak to each other.
func ends(c *lab.Cluster) []string {
	nodes := []string{"client"}
	for _, s := range c.Servers {
		nodes = append(nodes, s.Name)
	}
	return nodes
}

// bePatient has a node send nothing again, and no probe (RFC 8985), in the time that
// a busy machine may take for an answer; a request fails later than that.
func bePatient(t *testing.T, c *lab.Cluster, node string) {
	t.Helper()
	run := func(command string) string {
		t.Helper()
		return strings.TrimSpace(mustOutput(t, c.Node(node).Command("/bin/sh", "-c", command)))
	}
	const probes = "/proc/sys/net/ipv4/tcp_early_retrans"
	ip := map[bool]string{true: "ip -6 route ", false: "ip -4 route "}[c.Service.Addr().Is6()]
	route, before := run(ip+"show default"), run("cat "+probes)
	run("echo 0 >" + probes)
	run(ip + "change " + route + " rto_min 3s")
	t.Cleanup(func() { run("echo " + before + " >" + probes + " && " + ip + "change " + route) })
}

// retransmitted returns how many TCP segments client and real servers have
// sent again.
func retransmitted(t *testing.T, c *lab.Cluster) (sum int) {
	t.Helper()
	for _, node := range ends(c) {
		err := c.Node(node).Do(func() error {
			n, err := counter("Tcp", "RetransSegs")
			sum += n
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sum
}

// counter reads one of the kernel's SNMP counters of the thread's namespace:
// a line of names is followed by a line of values.
func counter(group, name string) (int, error) {
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, fmt.Errorf("counter %s of %s: not there", name, group)
}
