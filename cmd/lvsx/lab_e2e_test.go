// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

const megabyte = 1_000_000

// nodes are network namespaces, of a lab or that a test made itself.
type nodes interface {
	Node(name string) *host.Namespace
	Lvsx(node string, args ...string) (string, error)
}

// forEachMethod runs a test for each method and family, with native and generic
// XDP.
func forEachMethod(t *testing.T, test func(t *testing.T, c *lab.Cluster)) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, xdp := range []string{"generic", "native"} {
		for _, method := range []lab.Method{lab.NAT, lab.TUN, lab.DR} {
			for _, family := range []int{4, 6} {
				options := lab.Options{XDP: xdp, Family: family}
				t.Run(fmt.Sprintf("%s%d/%s", method, family, xdp), func(t *testing.T) { test(t, newCluster(t, method, options)) })
			}
		}
	}
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

func TestClusterBalances(t *testing.T) {
	forEachMethod(t, func(t *testing.T, c *lab.Cluster) {
		checkRound(t, c, 300, map[string]int{"rs1": 100, "rs2": 100, "rs3": 100})
		if err := c.SetWeights([]int{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		checkRound(t, c, 60, map[string]int{"rs1": 10, "rs2": 20, "rs3": 30})
	})
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

func TestBulkTransfer(t *testing.T) {
	forEachMethod(t, func(t *testing.T, c *lab.Cluster) { checkBulk(t, c, 100*megabyte) })
}

// Virtual links send packets merged beyond the MTU, their checksums unfinished.
// Generic XDP leaves such to the stack.
func TestMergedBulkTransfer(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.TCX)
	for _, method := range []lab.Method{lab.NAT, lab.TUN, lab.DR} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprint(method, family), func(t *testing.T) {
				checkBulk(t, newCluster(t, method, lab.Options{XDP: "generic", Offload: true, Family: family}), 100*megabyte)
			})
		}
	}
}

// Each way to reach real servers carries TCP, UDP and SCTP of both families: uploads
// and downloads across paths of 1500 bytes, datagrams and their answers, messages
// and their echoes.
func TestEveryWay(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, way := range []struct {
		name   string
		method lab.Method
		tunnel string
	}{
		{"nat", lab.NAT, ""},
		{"dr", lab.DR, ""},
		{"ipip", lab.TUN, ""},
		{"gre", lab.TUN, "--tun-type gre"},
		{"gue", lab.TUN, "--tun-type gue --tun-port 6080"},
	} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprint(way.name, family), func(t *testing.T) {
				c := newCluster(t, way.method, lab.Options{XDP: "native", Family: family, Tunnel: strings.Fields(way.tunnel)})
				checkBulk(t, c, megabyte)
				checkDatagrams(t, c)
				t.Run("sctp", func(t *testing.T) {
					testenv.Need(t, noKernelSCTP)
					checkSCTP(t, c)
				})
			})
		}
	}
}

// Every tunnel carries bulk both ways over a path of 1500 bytes, which its
// headers do not leave whole to the client's packets.
func TestTunnelBulkTransfer(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	generic, native, merged := lab.Options{XDP: "generic"}, lab.Options{XDP: "native"}, lab.Options{XDP: "generic", Offload: true}
	for _, test := range []struct {
		tunnel  string
		options []lab.Options
	}{
		{"--tun-type gre", []lab.Options{generic, native, merged}},
		{"--tun-type gre --tun-csum", []lab.Options{native}},
		{"--tun-type gue --tun-port 6080", []lab.Options{generic, native, merged}},
		{"--tun-type gue --tun-port 6080 --tun-csum", []lab.Options{native}},
		{"--tun-type gue --tun-port 6080 --tun-remcsum", []lab.Options{merged}},
	} {
		for _, options := range test.options {
			t.Run(fmt.Sprintf("%s/%s/%t", test.tunnel, options.XDP, options.Offload), func(t *testing.T) {
				if options.Offload {
					testenv.Need(t, testenv.TCX)
				}
				options.Tunnel = strings.Fields(test.tunnel)
				c := newCluster(t, lab.TUN, options)
				checkRound(t, c, 30, map[string]int{"rs1": 10, "rs2": 10, "rs3": 10})
				checkBulk(t, c, 10*megabyte)
			})
		}
	}
}

// checkBulk sends much both ways, checked by hash, and looks who carried it.
func checkBulk(t *testing.T, c *lab.Cluster, size int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

// A director that crashes in the middle of a transfer leaves the datapath at
// work; the next one knows the same services and connections.
func TestTransferOutlivesDirector(t *testing.T) {
	forEachMethod(t, func(t *testing.T, c *lab.Cluster) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// 10 MB pass with a director, 10 without one, and 10 with the next.
		crash := func(body io.Reader) io.Reader {
			var services string
			var connections []string
			return io.MultiReader(
				io.LimitReader(body, 10*megabyte),
				call(func() {
					services, connections = listing(t, c)
					if err := c.KillDirector(); err != nil {
						t.Error(err)
					}
				}),
				io.LimitReader(body, 10*megabyte),
				call(func() {
					if err := c.StartDirector(ctx); err != nil {
						t.Error(err)
					}
					checkListing(t, c, services, connections)
				}),
				body)
		}
		if err := c.Upload(ctx, 30*megabyte, crash); err != nil {
			t.Error(err)
		}
		if err := c.Download(ctx, 30*megabyte, crash); err != nil {
			t.Error(err)
		}
	})
}

// call is an empty stream whose reader does something.
type call func()

func (c call) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

func checkListing(t *testing.T, c *lab.Cluster, services string, connections []string) {
	t.Helper()
	if len(connections) == 0 {
		t.Error("no connection is listed during a transfer")
	}
	servicesNow, connectionsNow := listing(t, c)
	if diff := cmp.Diff(services, servicesNow); diff != "" {
		t.Errorf("services (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(connections, connectionsNow); diff != "" {
		t.Errorf("connections (-before +after):\n%s", diff)
	}
}

// listing returns the director's services as ipvsadm -S saves them, and its
// connections, each without its state and the time that it has left: packets go
// on while a director is missing.
func listing(t *testing.T, c *lab.Cluster) (services string, connections []string) {
	t.Helper()
	services, err := c.Lvsx("director", "ipvsadm", "-S", "-n")
	if err != nil {
		t.Error(err)
	}
	lines, err := c.Lvsx("director", "ipvsadm", "-L", "-n", "-c")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(lines) {
		if fields := strings.Fields(line); len(fields) == 6 && fields[0] == "TCP" {
			connections = append(connections, strings.Join(append(fields[:1], fields[3:]...), " "))
		}
	}
	return services, connections
}

// Requests never notice that the director dies and comes back: none fails,
// and nobody has to send a segment again.
func TestNoPacketIsLostWithoutDirector(t *testing.T) {
	forEachMethod(t, func(t *testing.T, c *lab.Cluster) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
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
			t.Errorf("%d segments were sent again", again)
		}
	})
}

// retransmitted returns how many TCP segments client and real servers have
// sent again.
func retransmitted(t *testing.T, c *lab.Cluster) (sum int) {
	t.Helper()
	nodes := []string{"client"}
	for _, s := range c.Servers {
		nodes = append(nodes, s.Name)
	}
	for _, node := range nodes {
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

// host.XDPMode is what the kernel says, not what the director was asked for.
func TestClusterAttachesAsAsked(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for xdp, want := range map[string]host.XDPMode{"generic": host.GenericXDP, "native": host.NativeXDP, "auto": host.GenericXDP} {
		t.Run(xdp, func(t *testing.T) {
			mode, err := newCluster(t, lab.DR, lab.Options{XDP: xdp}).DirectorXDP()
			if err != nil || mode != want {
				t.Errorf("attached as %q, %v; want %q", mode, err, want)
			}
		})
	}
}
