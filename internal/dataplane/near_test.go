// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// A service of many addresses needs a mark, which the datapath has not yet: here
// the addresses of a recording are entered by hand for the service of one.
func TestNearOfManyAddresses(t *testing.T) {
	files, err := filepath.Glob("testdata/sched/lblc*-[lo][ov][ce]*.json") // locality and overload
	if err != nil || len(files) < 10 {
		t.Fatalf("only %d recordings: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			r := readTrace(t, file)
			one := netip.AddrPortFrom(r.Steps[0].Dst, r.Steps[0].Dport)
			b := newBench(t)
			for _, line := range r.Setup {
				b.apply(strings.Replace(line, "-f 1", "-t "+one.String(), 1))
			}
			p := player{bench: b, forward: r.Forward, flows: make(map[int]playedFlow)}
			for i, s := range r.Steps {
				b.enterAddress(one, netip.AddrPortFrom(s.Dst, s.Dport))
				s.Args = strings.Replace(s.Args, "-f 1", "-t "+one.String(), 1)
				if strings.HasPrefix(s.Args, "-L") { // the service is called otherwise here
					_, want := cutCounts(s.Stdout)
					_, got := cutCounts(b.ipvsadm(s.Args))
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("connections (-want +got):\n%s", diff)
					}
				} else if wrong := p.play(s); wrong != "" {
					t.Fatalf("step %d: %s", i, wrong)
				}
			}
		})
	}
}

// enterAddress lets packets to another address find the service of one.
func (b *bench) enterAddress(one, other netip.AddrPort) {
	b.t.Helper()
	if !other.IsValid() {
		return
	}
	for key, s := range b.byKey {
		if key.VIP != one {
			continue
		}
		key.VIP = other
		if err := b.maps.ServiceIndex.Put(toServiceKey(key), s.index); err != nil {
			b.t.Fatal(err)
		}
		b.vips.add(other.Addr())
	}
}

// cached counts what is remembered: addresses, and members of sets.
func (b *bench) cached() (addresses, members int) {
	b.t.Helper()
	entries, err := b.readCaches()
	if err != nil {
		b.t.Fatal(err)
	}
	for key := range entries {
		if key == addressOf(key) {
			addresses++
		} else {
			members++
		}
	}
	return addresses, members
}

func (b *bench) wantCached(when string, addresses, members int) {
	b.t.Helper()
	if a, m := b.cached(); a != addresses || m != members {
		b.t.Errorf("%s: %d addresses and %d members are remembered, want %d and %d", when, a, m, addresses, members)
	}
}

func (b *bench) sweep() {
	b.t.Helper()
	if err := b.SweepCaches(); err != nil {
		b.t.Fatal(err)
	}
}

// crowd opens n connections, one client after the other.
func (b *bench) crowd(from, n int) (servers []int) {
	b.t.Helper()
	for i := range n {
		servers = append(servers, b.pick(from+i))
	}
	return servers
}

// A set grows while its members have too much to do, and loses the one with the
// most load when it has not changed for a day.
func TestSetShrinks(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s lblcr",
		"-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g -w 2", "-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g -w 2", "-a -t 10.0.0.80:80 -r 10.0.0.3:80 -g -w 2")
	if diff := cmp.Diff([]int{3, 3, 3, 2, 2, 2, 1}, b.crowd(0, 7)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	b.wantCached("three at work", 1, 3)
	b.pass(23 * time.Hour)
	b.ipvsadm("-L -n") // forgets the connections
	b.crowd(100, 1)
	b.wantCached("within a day", 1, 3)
	b.pass(2 * time.Hour)
	b.ipvsadm("-L -n")
	b.crowd(200, 1)
	b.wantCached("after a day", 1, 2)
	b.crowd(300, 1)
	b.wantCached("just changed", 1, 2)
}

// Addresses that nobody asks for are forgotten, with their sets, and so is all
// that a service remembered that is gone.
func TestSweepCaches(t *testing.T) {
	const lblc, lblcr = "10.0.0.81:80", "10.0.0.80:80"
	b := newBench(t, "-A -t "+lblcr+" -s lblcr", "-a -t "+lblcr+" -r 10.0.0.1:80 -g", "-a -t "+lblcr+" -r 10.0.0.2:80 -g",
		"-A -t "+lblc+" -s lblc", "-a -t "+lblc+" -r 10.0.0.1:80 -g")
	ask := func(service string, n int) {
		t.Helper()
		if o := b.send(clientMAC, tcp(clientNumber(n), netip.MustParseAddrPort(service), "S")); o.verdict != "route" {
			t.Fatal(o.verdict)
		}
	}
	ask(lblcr, 1)
	ask(lblc, 1)
	b.sweep()
	b.wantCached("asked for", 2, 1)
	b.pass(23 * time.Hour)
	ask(lblc, 2)
	b.pass(2 * time.Hour)
	b.sweep()
	b.wantCached("one was asked for within a day", 1, 0)
	ask(lblcr, 3)
	b.relearn(t)
	b.resolve()
	b.sweep()
	b.wantCached("adopted", 2, 1)
	b.apply("-D -t " + lblcr)
	b.sweep()
	b.wantCached("without its service", 1, 0)
	b.apply("-E -t " + lblc + " -s wlc")
	b.sweep()
	b.wantCached("with another scheduler", 0, 0)
}

// A cache that grew too large gives up addresses, those idle for a while.
func TestSweepLargeCache(t *testing.T) {
	b := newBench(t)
	const n = cacheMax + 300
	entries := make(map[directorCacheKey]directorCacheEntry)
	for i := range n {
		key := directorCacheKey{Cache: 1, Dest: destNone}
		key.Vip = toAddr(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}))
		used := b.now
		if i < 500 {
			used -= b.clock.ticks(cacheMinIdle) + 1
		}
		entries[key] = directorCacheEntry{Used: used}
	}
	live := map[uint64]time.Duration{1: 24 * time.Hour}
	if got := len(b.keptAddresses(entries, live, b.now)); got != n-400 {
		t.Errorf("%d addresses of %d are kept, want %d", got, n, n-400)
	}
	if got := len(b.keptAddresses(entries, map[uint64]time.Duration{2: 24 * time.Hour}, b.now)); got != 0 {
		t.Errorf("%d addresses of another cache are kept", got)
	}
}

// Another start of the scheduler remembers nothing of the one before.
func TestCacheOfNewStart(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s lblc", "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g -w 9", "-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g -w 9")
	if got := b.crowd(0, 2); !cmp.Equal(got, []int{2, 2}) {
		t.Fatalf("servers %v, want the same twice", got)
	}
	b.apply("-E -t 10.0.0.80:80 -s wlc", "-E -t 10.0.0.80:80 -s lblc")
	if got := b.pick(2); got != 1 {
		t.Errorf("server %d, want the one with less to do", got)
	}
	b.apply("-e -t 10.0.0.80:80 -r 10.0.0.1:80 -g -w 0")
	if got := b.pick(3); got != 2 {
		t.Errorf("server %d, want the one with weight", got)
	}
}

// A destination that gets the place of a forgotten one is nobody's old server.
func TestCacheOfForgotten(t *testing.T) {
	for _, scheduler := range []string{"lblc", "lblcr"} {
		b := newBench(t, "-A -t 10.0.0.80:80 -s "+scheduler, "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g")
		b.pick(0)
		b.apply("-d -t 10.0.0.80:80 -r 10.0.0.1:80")
		b.pass(time.Hour)
		b.ageAll()
		b.reap(time.Now())
		b.reap(time.Now().Add(trashIdle + time.Second))
		b.apply("-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g", "-a -t 10.0.0.80:80 -r 10.0.0.3:80 -g")
		if got := b.pick(1); got != 3 {
			t.Errorf("%s: server %d, want the newest", scheduler, got)
		}
	}
}

// A full cache only costs nearness.
func TestFullCache(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s lblcr", "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g", "-a -t 10.0.0.80:80 -r 10.0.0.2:80 -g")
	keys := make([]directorCacheKey, b.maps.Caches.MaxEntries())
	for i := range keys {
		keys[i] = directorCacheKey{Cache: uint64(i), Dest: destNone}
	}
	if _, err := b.maps.Caches.BatchUpdate(keys, make([]directorCacheEntry, len(keys)), nil); err != nil {
		t.Fatal(err)
	}
	if got := b.crowd(0, 3); !cmp.Equal(got, []int{2, 1, 2}) {
		t.Errorf("servers %v, want wlc's", got)
	}
	b.sweep()
	b.wantCached("after a sweep", 0, 0)
}

// "none" is a scheduler that never chooses.
func TestNoScheduler(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s none", "-a -t 10.0.0.80:80 -r 10.0.0.1:80 -g")
	if got := b.pick(0); got != 0 {
		t.Errorf("server %d, want none", got)
	}
	if s, err := b.Service(ipvs.Key{Protocol: ipvs.TCP, VIP: vip}); err != nil || s.Service.Scheduler != "none" {
		t.Errorf("scheduler %q, %v", s.Service.Scheduler, err)
	}
}
