// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// An ldirectord that nobody changed, with nothing but our ipvsadm in place of
// the original, adds real servers that live, takes those that die out of
// service, and clears up behind itself.
func TestLdirectord(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces,
		testenv.Program("ldirectord"), testenv.Program("unshare"), testenv.Program("mount"))
	const (
		service = "-A -t 192.0.2.80:81 -s wrr\n"
		first   = "-a -t 192.0.2.80:81 -r 10.0.0.11:8081 -m -w 1\n"
		second  = "-a -t 192.0.2.80:81 -r 10.0.0.12:8081 -m -w 2\n"
		drained = "-a -t 192.0.2.80:81 -r 10.0.0.12:8081 -m -w 0\n"
	)
	for quiescent, dead := range map[string]string{"yes": drained, "no": ""} {
		t.Run("quiescent="+quiescent, func(t *testing.T) {
			c := newCluster(t, lab.NAT, lab.Options{XDP: "generic"})
			if _, err := c.Lvsx("director", "ipvsadm", "-C"); err != nil {
				t.Fatal(err)
			}
			c.Service = netip.MustParseAddrPort("192.0.2.80:81")
			serve(t, c, "rs1")
			kill := serve(t, c, "rs2")
			l := startLdirectord(t, c, quiescent)

			l.await(service + first + second)
			checkAnswers(t, c, 6, map[string]int{"rs1": 2, "rs2": 4, "rs3": 0})
			kill()
			l.await(service + first + dead)
			checkAnswers(t, c, 4, map[string]int{"rs1": 4, "rs2": 0, "rs3": 0})
			serve(t, c, "rs2")
			l.await(service + first + second)
			checkAnswers(t, c, 6, map[string]int{"rs1": 2, "rs2": 4, "rs3": 0})
			if err := l.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			l.await("")
		})
	}
}

func checkAnswers(t *testing.T, c *lab.Cluster, requests int, want map[string]int) {
	t.Helper()
	round, err := c.Send(context.Background(), requests, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, round.PerServer); diff != "" || round.Failed > 0 {
		t.Errorf("requests per real server (-want +got), %v:\n%s", round.FirstError, diff)
	}
}

// serve runs a web server in a node until it is killed.
func serve(t *testing.T, c *lab.Cluster, node string) (kill func()) {
	t.Helper()
	var listener net.Listener
	err := c.Node(node).Do(func() (err error) {
		listener, err = net.Listen("tcp4", ":8081")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- lab.Serve(ctx, listener, node) }()
	kill = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(kill)
	return kill
}

// ldirectord is one in a cluster's director.
type ldirectord struct {
	*host.Command
	t       *testing.T
	cluster *lab.Cluster
	log     string
}

// startLdirectord gives it our ipvsadm where it looks for the original, which
// is not PATH, in mounts of its own.
func startLdirectord(t *testing.T, c *lab.Cluster, quiescent string) *ldirectord {
	t.Helper()
	dir := t.TempDir()
	l := &ldirectord{t: t, cluster: c, log: filepath.Join(dir, "log")}
	config := fmt.Sprintf(`checktimeout = 3
checkinterval = 1
quiescent = %s
supervised = yes
logfile = "%s"
virtual = 192.0.2.80:81
	real = 10.0.0.11:8081 masq 1
	real = 10.0.0.12:8081 masq 2
	service = http
	request = "/"
	receive = "rs"
	scheduler = wrr
	protocol = tcp
`, quiescent, l.log)
	if err := os.WriteFile(filepath.Join(dir, "ldirectord.cf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ipvsadm, err := exec.LookPath("ipvsadm") // TestMain has put it there
	if err != nil {
		t.Fatal(err)
	}
	l.Command = c.Node("director").Command("unshare", "--mount", "sh", "-c",
		`mount --bind "$0" /usr/sbin/ipvsadm && exec ldirectord "$1" start`, ipvsadm, filepath.Join(dir, "ldirectord.cf"))
	l.Stdout, l.Stderr = t.Output(), t.Output()
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Process.Kill() // it may have ended
		_ = l.Wait()         // and how is of no interest
	})
	return l
}

// await returns when the director has this table.
func (l *ldirectord) await(want string) {
	l.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		got, err := l.cluster.Lvsx("director", "ipvsadm", "-S", "-n")
		if err != nil {
			l.t.Fatal(err)
		}
		if got == want {
			return
		}
		select {
		case <-deadline:
			log, _ := os.ReadFile(l.log) // may not be there
			l.t.Fatalf("after %v the table is\n%s, want\n%s, and ldirectord says\n%s", patience, got, want, log)
		case <-tick.C:
		}
	}
}
