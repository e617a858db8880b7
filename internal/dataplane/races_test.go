// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// onTwoCPUs runs f on two CPUs at once, on one if the machine has no more.
func onTwoCPUs(t *testing.T, f func(worker int)) {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < min(2, allowed.Count()); cpu++ {
		if allowed.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread goes, with its place
			var own unix.CPUSet
			own.Set(cpus[worker%len(cpus)])
			if err := unix.SchedSetaffinity(0, &own); err != nil {
				t.Error(err)
				return
			}
			f(worker)
		})
	}
	workers.Wait()
}

// meeting lets two workers begin each step together.
type meeting struct{ arrived atomic.Int64 }

func (m *meeting) wait(step int) {
	m.arrived.Add(1)
	for m.arrived.Load() < int64(2*(step+1)) {
		runtime.Gosched()
	}
}

// sentTo returns where the datapath sends a packet, or says why it does not. Verdicts
// are of whichever CPU was last, and not looked at.
func (b *bench) sentTo(from net.HardwareAddr, ip []byte) (string, error) {
	run := &ebpf.RunOptions{Data: frame(from, ip), DataOut: make([]byte, len(ip)+256)}
	action, err := b.program.Run(run)
	if err != nil {
		return "", err
	}
	if action != xdpTX {
		return "", fmt.Errorf("XDP action %d", action)
	}
	return net.HardwareAddr(run.DataOut[:6]).String(), nil
}

// enter makes established connections of many clients, and returns where each goes.
func (b *bench) enter(count int) (places []string) {
	b.t.Helper()
	for n := range count {
		b.send(clientMAC, tcp(clientNumber(n), vip, "S"))
		places = append(places, b.send(clientMAC, tcp(clientNumber(n), vip, "A")).mac.String())
	}
	return places
}

// checkPlaced sends a packet of each connection: none was lost or moved.
func (b *bench) checkPlaced(places []string) {
	b.t.Helper()
	for n, want := range places {
		if got, err := b.sentTo(clientMAC, tcp(clientNumber(n), vip, "A")); err != nil || got != want {
			b.t.Fatalf("connection %d goes to %s (%v), and went to %s", n, got, err, want)
		}
	}
}

var twoServers = []string{"-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12 -m"}

// The first packets of a flow on two CPUs make one connection, and both count.
func TestOneFlowOnTwoCPUs(t *testing.T) {
	for service, first := range map[string]opening{"-t 10.0.0.80:80": syn(vip), "-u 10.0.0.80:80": datagram(vip, 100)} {
		t.Run(service, func(t *testing.T) {
			const flows = 1500
			b := newBench(t, "-A "+service+" -s rr", "-a "+service+" -r 192.168.1.11 -m", "-a "+service+" -r 192.168.1.12 -m")
			before := b.Dataplane.Services()[0].Stats
			var together meeting
			onTwoCPUs(t, func(int) {
				for n := range flows {
					together.wait(n)
					if _, err := b.sentTo(clientMAC, first(clientNumber(n))); err != nil {
						t.Errorf("flow %d: %v", n, err)
					}
				}
			})
			once := make(map[netip.AddrPort]int)
			for _, c := range b.conns() {
				once[c.CIP]++
			}
			for n := range flows {
				if once[clientNumber(n)] != 1 {
					t.Errorf("flow %d has %d connections", n, once[clientNumber(n)])
				}
			}
			b.checkLoads()
			after := b.Dataplane.Services()[0].Stats
			if packets, conns := after.InPkts-before.InPkts, after.Conns-before.Conns; packets != 2*flows || conns < flows {
				t.Errorf("%d packets and %d connections are counted, of %d and at least %d", packets, conns, 2*flows, flows)
			}
		})
	}
}

// Requests on one CPU and replies on the other move one state machine.
func TestReplyOnAnotherCPU(t *testing.T) {
	const flows, rounds = 500, 4
	b := newBench(t, twoServers...)
	places := b.enter(flows)
	before := b.Dataplane.Services()[0].Stats
	var together meeting
	onTwoCPUs(t, func(worker int) {
		for n := range flows * rounds {
			together.wait(n)
			c, from, packet := clientNumber(n%flows), clientMAC, []byte(nil)
			last := n >= flows*(rounds-1) // both ends close at once
			flags := map[bool]string{false: "A", true: "FA"}[last]
			if packet = tcp(c, vip, flags); worker == 1 {
				server := byte(11)
				if places[n%flows] == serverMAC(12).String() {
					server = 12
				}
				from, packet = serverMAC(server), tcp(addrPort(192, 168, 1, server, 80), c, flags)
			}
			if _, err := b.sentTo(from, packet); err != nil {
				t.Errorf("packet %d of side %d: %v", n, worker, err)
			}
		}
	})
	after := b.Dataplane.Services()[0].Stats
	if in, out := after.InPkts-before.InPkts, after.OutPkts-before.OutPkts; in != flows*rounds || out != flows*rounds {
		t.Errorf("%d packets in and %d out are counted, of %d each", in, out, flows*rounds)
	}
	if got := len(b.conns()); got != flows {
		t.Errorf("%d connections, want %d", got, flows)
	}
	b.checkLoads()
}

// Ageing takes nothing away that has traffic, and leaves nothing that has none.
func TestAgeingAgainstTraffic(t *testing.T) {
	const flows, laps = 500, 20
	b := newBench(t, twoServers...)
	places := b.enter(flows)
	for n := range flows { // which nobody goes on with
		b.send(clientMAC, tcp(clientNumber(100000+n), vip, "S"))
	}
	stop := b.meanwhile(b.ageAll)
	var together meeting
	onTwoCPUs(t, func(worker int) {
		for lap := range laps {
			together.wait(lap)
			if worker == 0 {
				now := atomic.AddUint32(&b.now, b.clock.ticks(5*time.Minute))
				if err := b.test.Set(directorTestCase{Now: now}); err != nil {
					t.Error(err)
				}
			}
			for n := worker; n < flows; n += 2 {
				if got, err := b.sentTo(clientMAC, tcp(clientNumber(n), vip, "A")); err != nil || got != places[n] {
					t.Errorf("lap %d: connection %d goes to %s (%v), and went to %s", lap, n, got, err, places[n])
				}
			}
		}
	})
	stop()
	b.ageAll()
	b.ageAll()
	b.checkPlaced(places)
	if live, _ := b.Capacity(); live != flows {
		t.Errorf("%d connections live, want %d", live, flows)
	}
	b.checkLoads()
}

// Floods on two CPUs push out each other's half-open connections, and no others.
func TestInsertionAgainstEviction(t *testing.T) {
	const room, live = 4096, 1000 // of the shared table
	b := newBench(t, twoServers...)
	places := b.enter(live)
	var refused atomic.Int64
	onTwoCPUs(t, func(worker int) {
		for n := range room {
			if _, err := b.sentTo(clientMAC, tcp(clientNumber(100000+worker*room+n), vip, "S")); err != nil {
				refused.Add(1) // its groups have no room that the other CPU does not take at once
			}
		}
	})
	if refused.Load()*100 > 2*room {
		t.Errorf("%d of %d SYNs are refused", refused.Load(), 2*room)
	}
	b.checkPlaced(places)
	b.checkPlaces()
	b.checkLoads()
}

// While a service's table is exchanged, each new connection finds a server, and
// all go on to theirs.
func TestTableSwapUnderLoad(t *testing.T) {
	for _, scheduler := range []string{"mh", "sh", "wrr"} {
		t.Run(scheduler, func(t *testing.T) {
			const flows = 1000
			lines := []string{"-A -t 10.0.0.80:80 -s " + scheduler}
			for server := 11; server <= 18; server++ {
				lines = append(lines, fmt.Sprintf("-a -t 10.0.0.80:80 -r 192.168.1.%d -g -w 3", server))
			}
			b := newBench(t, lines...)
			var edits atomic.Int64
			stop := b.meanwhile(func() {
				n := edits.Add(1)
				if out := b.ipvsadm(fmt.Sprintf("-e -t 10.0.0.80:80 -r 192.168.1.%d -g -w %d", 11+n%8, 1+n%5)); out != "" {
					t.Error(out)
				}
			})
			onTwoCPUs(t, func(worker int) {
				for n := worker; n < 2*flows; n += 2 {
					first, err := b.sentTo(clientMAC, tcp(clientNumber(n), vip, "S"))
					next, again := b.sentTo(clientMAC, tcp(clientNumber(n), vip, "A"))
					if err != nil || again != nil || first != next {
						t.Errorf("connection %d goes to %s (%v), then %s (%v)", n, first, err, next, again)
					}
				}
			})
			stop()
			if edits.Load() < 2 {
				t.Errorf("%d edits", edits.Load())
			}
			b.checkLoads()
		})
	}
}

// meanwhile runs f again and again until what it returns is called.
func (b *bench) meanwhile(f func()) (stop func()) {
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				f()
			}
		}
	})
	return func() {
		close(end)
		done.Wait()
	}
}
