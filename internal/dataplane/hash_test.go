// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// hashClients and the choices for them are of the kernel's own code, run by
// itself. Client i comes from port 40000 + i.
var hashClients = []string{
	"192.168.1.10", "192.168.1.11", "10.20.30.40", "203.0.113.7",
	"198.51.100.250", "1.2.3.4", "255.255.255.254", "172.16.5.9",
}

// hashed returns the servers that hashClients get, - for none or no such source.
func (b *bench) hashed() string {
	b.t.Helper()
	b.clearConns()
	var servers []string
	for i, c := range hashClients {
		src := netip.AddrPortFrom(netip.MustParseAddr(c), 40000+uint16(i))
		o := b.send(clientMAC, tcp(src, vip, "S"))
		name := "-"
		if o.verdict == "route" {
			name = fmt.Sprint(o.mac[5])
		}
		servers = append(servers, name)
	}
	return strings.Join(servers, " ")
}

// 255.255.255.254 is a martian here, client 6.
func TestHashVectors(t *testing.T) {
	for _, test := range []struct {
		service string
		weights [3]int
		edit    string
		want    string
	}{
		{"-s sh", [3]int{1, 1, 1}, "", "1 3 2 2 2 2 - 2"},
		{"-s sh -b sh-port", [3]int{1, 1, 1}, "", "3 3 3 2 1 2 - 3"},
		{"-s sh", [3]int{1, 2, 4}, "", "3 1 3 2 2 3 - 3"},
		{"-s sh", [3]int{1, 2, 4}, "-w 0", "- 2 2 - - - - 1"},
		{"-s sh -b sh-fallback", [3]int{1, 2, 4}, "-w 0", "2 2 2 2 2 2 - 1"},
		{"-s mh", [3]int{1, 1, 1}, "", "1 1 2 3 3 2 - 2"},
		{"-s mh -b mh-port", [3]int{1, 1, 1}, "", "1 3 2 1 3 2 - 1"},
		{"-s mh", [3]int{1, 1, 1}, "-w 0", "1 1 2 - - 2 - 2"},
		{"-s mh -b mh-fallback", [3]int{1, 1, 1}, "-w 0", "1 1 2 2 1 2 - 2"},
		{"-s mh", [3]int{1, 2, 4}, "", "1 3 2 3 3 2 - 2"},
		{"-s mh -b mh-port", [3]int{1, 2, 4}, "", "3 3 2 3 3 2 - 3"},
		{"-s mh", [3]int{100, 200, 300}, "", "1 3 2 3 3 2 - 2"},
		{"-s mh", [3]int{0, 1, 1}, "", "3 2 2 3 3 2 - 2"},
	} {
		b := newBench(t, "-A -t 10.0.0.80:80 "+test.service)
		for i, w := range test.weights {
			b.apply(fmt.Sprintf("-a -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d", i+1, w))
		}
		if test.edit != "" {
			b.apply("-e -t 10.0.0.80:80 -r 10.0.0.3:80 -g " + test.edit)
		}
		if got := b.hashed(); got != test.want {
			t.Errorf("%s of %v, then dest 3 %s: %s, want %s", test.service, test.weights, test.edit, got, test.want)
		}
	}
}

// A table outlives the director, what mh remembers of weights, too.
func TestHashAdopted(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s mh",
		"-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g", "-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g", "-a -t 10.0.0.80:80 -r 10.0.0.3:80 -g",
		"-e -t 10.0.0.80:80 -r 10.0.0.3:80 -g -w 0")
	const want = "1 1 2 - - 2 - 2"
	listing := b.ipvsadm("-S -n")
	b.relearn(b.t)
	b.resolve()
	if got := b.ipvsadm("-S -n"); got != listing {
		t.Errorf("before:\n%safter:\n%s", listing, got)
	}
	if got := b.hashed(); got != want {
		t.Errorf("adopted: %s, want %s", got, want)
	}
	b.apply("-A -t 10.0.0.81:80 -s mh", "-a -t 10.0.0.81:80 -r 10.0.0.4:80 -g", "-E -t 10.0.0.81:80 -s sh", "-E -t 10.0.0.81:80 -s mh")
	if got := b.hashed(); got != want {
		t.Errorf("beside other tables: %s, want %s", got, want)
	}
	b.apply("-e -t 10.0.0.80:80 -r 10.0.0.2:80 -g -w 1")
	if got := b.hashed(); got != want {
		t.Errorf("built anew: %s, want %s", got, want)
	}
	b.apply("-e -t 10.0.0.80:80 -r 10.0.0.3:80 -g -w 1")
	if got := b.hashed(); got != "1 1 2 3 3 2 - 2" {
		t.Errorf("with its weight again: %s", got)
	}
}

// While weights, flags and schedulers change, no client is ever refused.
func TestHashSwaps(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s sh")
	for n := range 10 {
		b.apply(fmt.Sprintf("-a -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w 5", n+1))
	}
	service := ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: vip}}
	rip := netip.MustParseAddrPort("10.0.0.3:80")
	done := make(chan error)
	deadline := time.Now().Add(300 * time.Millisecond)
	go func() {
		for time.Now().Before(deadline) {
			for i, scheduler := range []string{"sh", "dh", "mh", "rr", "mh", "wlc", "sh", "mh", "dh"} {
				change := service
				change.Scheduler = scheduler
				if err := b.Dataplane.Apply(ipvs.Change{Op: ipvs.EditService, Service: change}); err != nil {
					done <- err
					return
				}
				weighted := ipvs.Destination{RIP: rip, Forwarding: ipvs.Route, Weight: int32(1 + i)}
				if err := b.Dataplane.Apply(ipvs.Change{Op: ipvs.EditDestination, Service: service, Destination: weighted}); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	for n := 0; time.Now().Before(deadline); n++ {
		o := b.send(clientMAC, tcp(clientNumber(n%2000), vip, "S"))
		if o.verdict != "route" {
			t.Errorf("client %d: %s", n, o.verdict)
			break
		}
		if n%2000 == 0 {
			b.clearConns()
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// As many destinations as mh has places for, and some more.
func TestHashOfThousands(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr")
	service := ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: vip}}
	for i := range sched.MaglevSize {
		rip := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
		d := ipvs.Destination{RIP: rip, Forwarding: ipvs.Route, Weight: 1}
		if _, err := b.Apply(ipvs.Change{Op: ipvs.AddDestination, Service: service, Destination: d}); err != nil {
			t.Fatal(err)
		}
	}
	b.apply("-E -t 10.0.0.80:80 -s mh")
	if got := b.servers(3000); got < 2000 {
		t.Errorf("mh sends 3000 clients to %d servers", got)
	}
	for _, host := range []int{1, 2, 3} { // 4096 of them
		b.apply(fmt.Sprintf("-a -t 10.0.0.80:80 -r 10.2.0.%d:80 -g", host))
	}
	if got := b.servers(3000); got < 2000 {
		t.Errorf("mh sends 3000 clients to %d servers of 4096", got)
	}
	b.apply("-E -t 10.0.0.80:80 -s sh")
	if got := b.servers(3000); got != sched.HashSize {
		t.Errorf("sh sends 3000 clients to %d servers, want %d", got, sched.HashSize)
	}
	if out := b.ipvsadm("-E -t 10.0.0.80:80 -s mh"); out == "" {
		t.Error("mh takes more destinations than it has places for")
	}
}

// servers opens connections of so many clients, and returns how many servers
// they got. It counts by connections, which go to their entry's destination.
func (b *bench) servers(clients int) int {
	b.t.Helper()
	b.clearConns()
	got := make(map[uint32]bool)
	for n := range clients {
		if o := b.send(clientMAC, tcp(clientNumber(64*n), vip, "S")); o.verdict != "route" {
			b.t.Fatalf("client %d: %s", n, o.verdict)
		}
	}
	for e := range b.live() {
		got[e.conn.Dest] = true
	}
	return len(got)
}

// A table that there is no room for is refused, and all stays.
func TestHashNoRoom(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g")
	before := b.ipvsadm("-S -n")
	b.tableRegions = regions{}
	if out := b.ipvsadm("-E -t 10.0.0.80:80 -s mh"); out != "Memory allocation problem\n" {
		t.Errorf("-E to mh: %q", out)
	}
	if after := b.ipvsadm("-S -n"); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}
