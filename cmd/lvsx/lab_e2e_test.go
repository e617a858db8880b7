// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
)

const megabyte = 1_000_000

// patience is how long a test waits for what comes at once, but on a busy machine.
const patience = 2 * time.Minute

// nodes are network namespaces, of a lab or that a test made itself.
type nodes interface {
	Node(name string) *host.Namespace
	Lvsx(node string, args ...string) (string, error)
}

func newCluster(t *testing.T, method lab.Method, options lab.Options) *lab.Cluster {
	t.Helper()
	program, err := exec.LookPath("lvsx") // TestMain has put it there
	if err != nil {
		t.Fatal(err)
	}
	options.Name, options.Program, options.Logs, options.Servers = labName(), program, t.TempDir(), 3
	c, err := lab.Build(context.Background(), method, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// labName keeps out of the way of a lab that somebody else runs.
func labName() string { return fmt.Sprintf("test-%d", os.Getpid()) }

func checkBalance(t *testing.T, c *lab.Cluster) {
	t.Helper()
	checkRound(t, c, 300, map[string]int{"rs1": 100, "rs2": 100, "rs3": 100})
	if err := c.SetWeights([]int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	checkRound(t, c, 60, map[string]int{"rs1": 10, "rs2": 20, "rs3": 30})
}

func checkRound(t *testing.T, c *lab.Cluster, requests int, want map[string]int) {
	t.Helper()
	before := passed(t, c)
	round, err := c.Send(context.Background(), requests, nil)
	if err != nil {
		t.Fatal(err)
	}
	if round.OK != requests || round.Failed != 0 {
		t.Errorf("%d of %d answered, %d failed: %v", round.OK, requests, round.Failed, round.FirstError)
	}
	if diff := cmp.Diff(want, round.PerServer); diff != "" {
		t.Errorf("requests per real server (-want +got):\n%s", diff)
	}
	after := passed(t, c)
	if in := after.ClientToServerPackets - before.ClientToServerPackets; in < uint64(5*requests) {
		t.Errorf("%d packets to real servers for %d requests", in, requests)
	}
	checkReplies(t, c, after.ServerToClientPackets-before.ServerToClientPackets, uint64(4*requests))
}

func passed(t *testing.T, c *lab.Cluster) lab.Passed {
	t.Helper()
	p, err := c.Passed()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkReplies wants at least so many packets of replies through a director
// that does NAT, and none through others.
func checkReplies(t *testing.T, c *lab.Cluster, got, atLeast uint64) {
	t.Helper()
	if c.Method == lab.NAT && got < atLeast {
		t.Errorf("%d packets of replies through the director, want at least %d", got, atLeast)
	}
	if c.Method != lab.NAT && got != 0 {
		t.Errorf("%d packets of replies through the director, want 0", got)
	}
}

func checkMuch(t *testing.T, c *lab.Cluster) {
	t.Helper()
	checkBulk(t, c, 100*megabyte)
}

// checkBulk sends much both ways, checked by hash, and looks who carried it.
func checkBulk(t *testing.T, c *lab.Cluster, size int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := received(t, c)
	if err := c.Download(ctx, size, nil); err != nil {
		t.Error(err)
	}
	// The director's interfaces are the witness of who carried the reply.
	through := received(t, c) - before
	if c.Method == lab.NAT && through < uint64(size) {
		t.Errorf("director received %d bytes of a reply of %d", through, size)
	}
	if c.Method != lab.NAT && through > uint64(size)/10 {
		t.Errorf("director received %d bytes while a reply of %d should bypass it", through, size)
	}
	if err := c.Upload(ctx, size, nil); err != nil {
		t.Error(err)
	}
}

// received returns the bytes that the director's interfaces have received.
func received(t *testing.T, c *lab.Cluster) uint64 {
	t.Helper()
	traffic, err := c.NodeTraffic("director")
	if err != nil {
		t.Fatal(err)
	}
	return traffic.RxBytes
}

// checkAttached asks the kernel, not the director, how its program runs.
func checkAttached(t *testing.T, c *lab.Cluster, want host.XDPMode) {
	t.Helper()
	if mode, err := c.DirectorXDP(); err != nil || mode != want {
		t.Errorf("attached as %q, %v; want %q", mode, err, want)
	}
}
