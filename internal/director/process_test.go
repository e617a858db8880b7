// SPDX-License-Identifier: Apache-2.0

package director_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/director"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

// The test binary is a director, too, when these say so: it must be a process
// of its own to be in a network namespace, and to be killed.
const (
	beDirector   = "LVSX_TEST_DIRECTOR"
	beInterfaces = "LVSX_TEST_INTERFACES"
)

func TestMain(m *testing.M) {
	switch what := os.Getenv(beDirector); what {
	case "":
		os.Exit(m.Run())
	default:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := director.Run(ctx, director.Options{
			Interfaces: strings.Fields(os.Getenv(beInterfaces)), Mode: director.Generic, Connections: 1024,
			Keep: what == "keep", Version: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// network is a namespace with a director's interface in it.
type network struct {
	*host.Namespace
	t     *testing.T
	state string // directory
}

func newNetwork(t *testing.T, name string) *network {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	n := &network{Namespace: testenv.Namespace(t, name), t: t}
	n.do(func() (err error) {
		if err := host.AddVeth(host.VethEnd{Name: "a"}, host.VethEnd{Name: "b"}); err != nil {
			return err
		}
		n.state, err = host.StatePath()
		return errors.Join(err, host.SetUp("a"), host.SetUp("b"))
	})
	t.Cleanup(func() {
		if err := host.Remove([]*host.Namespace{n.Namespace}, time.Second); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *network) do(f func() error) {
	n.t.Helper()
	if err := n.Do(f); err != nil {
		n.t.Fatal(err)
	}
}

// xdp is how a program runs on the director's interface.
func (n *network) xdp() (mode host.XDPMode) {
	n.t.Helper()
	n.do(func() error {
		l, err := host.LinkByName("a")
		mode = l.XDP
		return err
	})
	return mode
}

// process is a director in the network.
type process struct {
	*exec.Cmd
	t      *testing.T
	output *strings.Builder
	ended  chan error
}

// start runs a director until it says that it is ready, or ends.
func (n *network) start(what string, interfaces ...string) *process {
	n.t.Helper()
	p := &process{Cmd: exec.Command("/proc/self/exe"), t: n.t, output: &strings.Builder{}, ended: make(chan error, 1)}
	p.Env = append(os.Environ(), beDirector+"="+what, beInterfaces+"="+strings.Join(interfaces, " "))
	stderr, err := p.StderrPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	n.do(p.Start)
	ready := make(chan struct{})
	go func() {
		told := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(p.output, lines.Text())
			if !told && strings.Contains(lines.Text(), "msg=ready") {
				told = true
				close(ready)
			}
		}
		p.ended <- p.Wait()
		close(p.ended)
		if !told {
			close(ready)
		}
	}()
	n.t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		<-p.ended
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		n.t.Fatal("the director is not ready after a minute")
	}
	return p
}

// stop sends a signal and returns what the director said at its end.
func (p *process) stop(s syscall.Signal) (output string, err error) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case err = <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatal("the director does not end")
	}
	return p.output.String(), err
}

// client connects to the director, whose socket comes a moment after it is ready.
func (n *network) client() *control.Client {
	n.t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-poll.C {
		c, err := control.Dial(control.SocketPath(n.state))
		if err == nil {
			return c
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
	}
}

var (
	web    = ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")}, Scheduler: "wrr"}
	server = func(rip string, weight int32) ipvs.Change {
		return ipvs.Change{Op: ipvs.AddDestination, Service: web, Destination: ipvs.Destination{RIP: netip.MustParseAddrPort(rip), Weight: weight}}
	}
	setup = []ipvs.Change{{Op: ipvs.AddService, Service: web}, server("10.0.0.1:80", 3), server("10.0.0.2:80", 1)}
	plain = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

func (n *network) services() []ipvs.ServiceStatus {
	n.t.Helper()
	s, err := n.client().Services()
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// A namespace has one director; the second says so and does no harm.
func TestSecondDirector(t *testing.T) {
	n := newNetwork(t, "second")
	first := n.start("run", "a")
	if _, err := n.client().Apply(setup...); err != nil {
		t.Fatal(err)
	}
	second := n.start("run", "a")
	output, err := second.stop(0)
	want := fmt.Sprintf("%v (process %d)\n", director.ErrRunning, first.Process.Pid)
	if err == nil || output != want {
		t.Errorf("the second ends with %v and says %q, want %q", err, output, want)
	}
	if s := n.services(); len(s) != 1 || n.xdp() != host.GenericXDP {
		t.Errorf("the first has %v, XDP %q", s, n.xdp())
	}
	n.stopClean(first)
}

// stopClean stops a director and looks for what it left.
func (n *network) stopClean(p *process) {
	n.t.Helper()
	if output, err := p.stop(syscall.SIGTERM); err != nil {
		n.t.Fatalf("%v\n%s", err, output)
	}
	if mode := n.xdp(); mode != host.NoXDP {
		n.t.Errorf("XDP is left: %s", mode)
	}
	if left, err := os.ReadDir(n.state); !errors.Is(err, fs.ErrNotExist) {
		n.t.Errorf("state is left: %v %v", left, err)
	}
	n.checkNoPins()
	if diff := cmp.Diff(bare, n.local()); diff != "" {
		n.t.Errorf("for packets of the director's own is left (-want +got):\n%s", diff)
	}
}

// local is what a director needs to see what processes beside it send.
type local struct {
	Interfaces                 []string
	AcceptLocal, RouteLocalnet int
}

var bare = local{Interfaces: []string{"a", "b", "lo"}}

func (n *network) local() (found local) {
	n.t.Helper()
	n.do(func() error {
		links, err := host.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			found.Interfaces = append(found.Interfaces, l.Name)
		}
		slices.Sort(found.Interfaces)
		if found.AcceptLocal, err = host.InterfaceSysctl("lo", "accept_local").Read(); err != nil {
			return err
		}
		found.RouteLocalnet, err = host.InterfaceSysctl("lo", "route_localnet").Read()
		return err
	})
	return found
}

// A director that was killed leaves what its own packets need, and the next one
// uses and removes it. An interface that somebody removes comes back.
func TestLocalIsUndone(t *testing.T) {
	n := newNetwork(t, "local")
	testenv.Need(t, testenv.TCX)
	want := local{Interfaces: []string{"a", "b", "lo", "lvsx-local", "lvsx-local-peer"}, AcceptLocal: 1, RouteLocalnet: 1}
	p := n.start("run", "a")
	for _, what := range []string{"killed", "stopped"} {
		if diff := cmp.Diff(want, n.local()); diff != "" {
			t.Errorf("before a director is %s (-want +got):\n%s", what, diff)
		}
		n.do(func() error { return host.DeleteLink("lvsx-local") })
		n.await(want)
		if what == "killed" {
			p.stop(syscall.SIGKILL)
			p = n.start("run", "a")
		}
	}
	n.stopClean(p)
}

func (n *network) await(want local) {
	n.t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); cmp.Diff(want, n.local()) != ""; <-poll.C {
		if time.Now().After(deadline) {
			n.t.Fatalf("the interface does not come back: %+v", n.local())
		}
	}
}

func (n *network) checkNoPins() {
	n.t.Helper()
	n.do(func() error {
		return host.InHostMounts(func() error {
			dir, err := host.PinDir()
			if err != nil {
				return err
			}
			if left, err := filepath.Glob(dir + "*"); err != nil || len(left) > 0 {
				n.t.Errorf("pins are left: %v %v", left, err)
			}
			return nil
		})
	})
}

// What a killed director of another version left is replaced, and its own interface taken on.
func TestOtherVersionIsReplaced(t *testing.T) {
	n := newNetwork(t, "replaced")
	n.start("run", "a").stop(syscall.SIGKILL)
	n.do(func() error {
		return host.InHostMounts(func() error {
			dir, err := host.PinDir()
			return errors.Join(err, os.Remove(filepath.Join(dir, "identity")))
		})
	})
	p := n.start("run", "a")
	n.stopClean(p)
	if output := p.output.String(); strings.Contains(output, "level=ERROR") || !strings.Contains(output, "of another version") {
		t.Errorf("it says\n%s", output)
	}
}

// A director that was killed leaves the datapath running, and the next one has
// all services in the same order.
func TestKilledDirector(t *testing.T) {
	for _, how := range []string{"killed", "told to keep"} {
		t.Run(how, func(t *testing.T) {
			n := newNetwork(t, "killed")
			var p *process
			if how == "killed" {
				p = n.start("run", "a")
			} else {
				p = n.start("keep", "a")
			}
			if _, err := n.client().Apply(setup...); err != nil {
				t.Fatal(err)
			}
			if err := n.client().SetTimeouts(ipvs.Timeouts{TCP: 3600}); err != nil {
				t.Fatal(err)
			}
			before := n.services()
			signal := syscall.SIGTERM
			if how == "killed" {
				signal = syscall.SIGKILL
			}
			if output, err := p.stop(signal); (err != nil) != (how == "killed") {
				t.Fatalf("%v\n%s", err, output)
			}
			if mode := n.xdp(); mode != host.GenericXDP {
				t.Fatalf("without a director XDP is %q", mode)
			}
			if _, err := control.Dial(control.SocketPath(n.state)); !errors.Is(err, control.ErrNoDirector) {
				t.Errorf("without a director: %v", err)
			}
			p = n.start("run", "a")
			if diff := cmp.Diff(before, n.services(), plain); diff != "" {
				t.Errorf("services (-before +after):\n%s", diff)
			}
			timeouts, err := n.client().Timeouts()
			if want := (ipvs.Timeouts{TCP: 3600, TCPFin: 120, UDP: 300}); timeouts != want || err != nil {
				t.Errorf("timeouts %+v, %v", timeouts, err)
			}
			status, err := n.client().Status()
			if err != nil || status.PID != p.Process.Pid || status.Services != 1 || status.Connections.Capacity < 1024 {
				t.Errorf("status %+v, %v", status, err)
			}
			if len(status.Interfaces) != 1 || status.Interfaces[0].Name != "a" || status.Interfaces[0].Mode != "generic" {
				t.Errorf("interfaces %+v", status.Interfaces)
			}
			n.stopClean(p)
		})
	}
}

func TestNoSuchInterface(t *testing.T) {
	for _, how := range []string{"run", "keep"} {
		n := newNetwork(t, "nosuch-"+how)
		output, err := n.start(how, "nosuch0").stop(0)
		if err == nil || output != "attach to nosuch0: no such interface\n" {
			t.Errorf("%s: %v, %q", how, err, output)
		}
		if _, err := os.Stat(n.state); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: state is left: %v", how, err)
		}
		n.checkNoPins()
	}
}

// A director that cannot start leaves what forwards without it as it found it.
func TestAdoptedBySlip(t *testing.T) {
	n := newNetwork(t, "slip")
	p := n.start("run", "a")
	if _, err := n.client().Apply(setup...); err != nil {
		t.Fatal(err)
	}
	before := n.services()
	p.stop(syscall.SIGKILL)
	output, err := n.start("run", "b", "nosuch0").stop(0)
	if err == nil || !strings.Contains(output, "attach to nosuch0: no such interface\n") {
		t.Errorf("%v, %q", err, output)
	}
	if mode := n.xdp(); mode != host.GenericXDP {
		t.Errorf("after a director that could not start XDP is %q", mode)
	}
	p = n.start("run", "b")
	if diff := cmp.Diff(before, n.services(), plain); diff != "" {
		t.Errorf("services (-before +after):\n%s", diff)
	}
	if mode := n.xdp(); mode != host.NoXDP {
		t.Errorf("on an interface that is not wanted any more XDP is %q", mode)
	}
	n.stopClean(p)
}

// Refused changes stop a row of them, and those before stay.
func TestRefusedChanges(t *testing.T) {
	n := newNetwork(t, "refused")
	p := n.start("run", "a")
	c := n.client()
	bad := server("10.0.0.3:80", 1)
	bad.Destination.Weight = -1
	applied, err := c.Apply(setup[0], setup[1], bad, setup[2])
	var refused *ipvs.Refusal
	if applied != 2 || !errors.As(err, &refused) || refused.Errno != syscall.ERANGE {
		t.Errorf("Apply = %d, %v", applied, err)
	}
	if _, err := c.Apply(setup[0]); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a second time: %v", err)
	}
	if s := n.services(); len(s) != 1 || len(s[0].Destinations) != 1 {
		t.Errorf("services %+v", s)
	}
	n.stopClean(p)
}
