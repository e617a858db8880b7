// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// entry is the only one of the table that is in use.
func (b *bench) entry() entry {
	b.t.Helper()
	for e := range b.entries(0, len(b.groups.at)) {
		if phaseOf(*e.life) != phaseFree {
			return e
		}
	}
	b.t.Fatal("no entry is in use")
	return entry{}
}

func (d *Dataplane) clearConns() {
	clear(d.groups.at)
	clear(d.conns.at)
	d.passed = passed{}
}

// reap is Reap, which must not fail.
func (b *bench) reap(now time.Time) {
	b.t.Helper()
	if err := b.Reap(now); err != nil {
		b.t.Error(err)
	}
}

// ageAll is once through the whole table.
func (b *bench) ageAll() { b.age(len(b.groups.at)) }

// An entry whose time is over is dead at the first meeting and free at a later
// one, and out of its destination's count at once.
func TestAgeing(t *testing.T) {
	b := established(t, "-m")
	entry := b.entry()
	b.pass(15*time.Minute - time.Second)
	b.ageAll()
	if active, total := b.loadOf(entry.conn.Dest); phaseOf(*entry.life) != phaseLive || active != 1 || total != 1 {
		t.Fatalf("a second early: phase %d, %d of %d active", phaseOf(*entry.life), active, total)
	}
	b.pass(2 * time.Second)
	b.ageAll()
	if active, total := b.loadOf(entry.conn.Dest); phaseOf(*entry.life) != phaseDead || active != 0 || total != 0 {
		t.Errorf("met once: phase %d, %d of %d active", phaseOf(*entry.life), active, total)
	}
	for range AgePasses {
		b.Age()
	}
	if phaseOf(*entry.life) != phaseFree {
		t.Errorf("met again: phase %d", phaseOf(*entry.life))
	}
	b.ageAll()
	b.checkLoads()
}

// Marking and burying leave alone what is not theirs.
func TestMarkAndBury(t *testing.T) {
	for _, test := range []struct {
		name             string
		life, marked     uint32
		expires          uint32
		buried, buried2x uint32
	}{
		{"free", phaseFree | 7<<lifeGenerationShift, phaseFree | 7<<lifeGenerationShift, 0, phaseFree | 7<<lifeGenerationShift, phaseFree | 7<<lifeGenerationShift},
		{"claimed", 1 | 7<<lifeGenerationShift, 1 | 7<<lifeGenerationShift, 0, 1 | 7<<lifeGenerationShift, 1 | 7<<lifeGenerationShift},
		{"live", phaseLive | 1<<lifeStateShift, phaseLive | 1<<lifeStateShift, 101, phaseLive | 1<<lifeStateShift, phaseLive | 1<<lifeStateShift},
		{"over", phaseLive | 4<<lifeStateShift | 9<<lifeGenerationShift, phaseDead | 9<<lifeGenerationShift, 100, phaseDead | deadSeen<<lifeStateShift | 9<<lifeGenerationShift, phaseFree | 9<<lifeGenerationShift},
		{"over, and the clock went round", phaseLive | 4<<lifeStateShift, phaseDead, 1 << 31, phaseDead | deadSeen<<lifeStateShift, phaseFree},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Dataplane{loads: memory[directorDestLoad]{at: []directorDestLoad{{Total: 5, Active: 5}}}}
			life := test.life
			conn := directorConn{Expires: test.expires}
			now := uint32(100)
			if test.expires == 1<<31 {
				now = 1<<31 + 5
			}
			d.mark(entry{1, &life, &conn}, now)
			got := []uint32{life}
			bury(&life)
			got = append(got, life)
			bury(&life)
			got = append(got, life)
			if diff := cmp.Diff([]uint32{test.marked, test.buried, test.buried2x}, got); diff != "" {
				t.Errorf("lives (-want +got):\n%s", diff)
			}
		})
	}
}

// Nobody needs to have met an entry for its time to be over.
func TestExpiresByItself(t *testing.T) {
	b := established(t, "-g")
	b.pass(15*time.Minute + time.Second)
	if conns := b.conns(); len(conns) > 0 {
		t.Errorf("listed: %v", conns)
	}
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "no-connection" {
		t.Errorf("a segment of it: %s", o.verdict)
	}
	if o := b.send(clientMAC, tcp(client, vip, "S")); o.verdict != "route" || o.state != "SYN_RECV" {
		t.Errorf("a new one by the same port: %s, %s", o.verdict, o.state)
	}
	if conns := b.conns(); len(conns) != 1 {
		t.Errorf("listed: %v", conns)
	}
	b.ageAll()
	b.checkLoads()
}

// The clock goes round after years; nothing ends or lives on because of it.
func TestClockGoesRound(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.at(^uint32(0) - 100)
	b.send(clientMAC, tcp(client, vip, "S"))
	b.send(clientMAC, tcp(client, vip, "A"))
	b.at(50)
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "route" || len(b.conns()) != 1 {
		t.Errorf("after it went round: %s", o.verdict)
	}
	b.pass(16 * time.Minute)
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "no-connection" {
		t.Errorf("when its time is over: %s", o.verdict)
	}
}

// A client that uses its port again gets the next server, if its connection
// was over, and the same one if not.
func TestPortReuse(t *testing.T) {
	setup := []string{"-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12:80 -m"}
	for how, again := range map[string]bool{"": false, ">F": false, ">R": true, ">FA <FA >A": true} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t, setup...)
			p := player{bench: b, forward: "nat"}
			first := p.server(b.send(clientMAC, tcp(client, vip, "S")))
			f := playedFlow{client, vip, netip.MustParseAddrPort(first)}
			steps := []string{"<SA", ">A"}
			if how != "" {
				steps = append(steps, strings.Fields(how)...)
			}
			if wrong := p.exchange(f, steps...); wrong != "" {
				t.Fatal(wrong)
			}
			second := p.server(b.send(clientMAC, tcp(client, vip, "S")))
			if moved := second != first; moved != again {
				t.Errorf("first %s, then %s", first, second)
			}
			if conns := b.conns(); len(conns) != 1 {
				t.Errorf("listed: %v", conns)
			}
			b.ageAll()
			b.checkLoads()
		})
	}
}

// A removed destination keeps its connections and is remembered as long as it
// has any, and two minutes more.
func TestTrash(t *testing.T) {
	b := established(t, "-m")
	data := tcp(client, vip, "A")
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
	if o := b.send(clientMAC, data); o.verdict != "destination-gone" {
		t.Errorf("while it is gone: %s", o.verdict)
	}
	if o := b.send(serverMAC(11), tcp(server11, client, "A")); o.verdict != "masq-out" {
		t.Errorf("its replies: %s", o.verdict)
	}
	start := time.Now()
	for _, after := range []time.Duration{0, time.Hour} {
		b.reap(start.Add(after))
	}
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	if o := b.send(clientMAC, data); o.verdict != "masq-in" {
		t.Errorf("when it is back: %s", o.verdict)
	}

	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
	b.pass(time.Hour)
	b.reap(start) // its connection's end is not seen before ageing has met it
	if len(b.trash) != 1 {
		t.Fatalf("%d in the trash", len(b.trash))
	}
	b.ageAll()
	b.reap(start)
	b.reap(start.Add(trashIdle - 1))
	if len(b.trash) != 1 {
		t.Fatalf("%d in the trash just before two minutes are over", len(b.trash))
	}
	free := len(b.freeDests)
	b.reap(start.Add(trashIdle))
	if len(b.trash) != 0 || len(b.freeDests) != free+1 || len(b.RealServers()) != 0 {
		t.Errorf("%d in the trash after it, real servers %v", len(b.trash), b.RealServers())
	}
	if b.rips.counts[filterPlace(server11.Addr())] != 0 {
		t.Error("the datapath still looks for replies of the server that is forgotten")
	}
}

// A deleted service is remembered as long as its destinations, and found again.
func TestDeletedServiceComesBack(t *testing.T) {
	b := established(t, "-m")
	free := len(b.freeServices)
	b.apply("-D -t 10.0.0.80:80")
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "destination-gone" {
		t.Errorf("while it is gone: %s", o.verdict)
	}
	if o := b.send(clientMAC, tcp(clientNumber(1), vip, "S")); o.verdict != "not-ours" {
		t.Errorf("a new client: %s", o.verdict)
	}
	b.apply("-A -t 10.0.0.80:80 -s wrr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "masq-in" {
		t.Errorf("when it is back: %s", o.verdict)
	}
	if len(b.freeServices) != free {
		t.Errorf("%d services free, want %d: the old one is of no use any more", len(b.freeServices), free)
	}
	b.apply("-C")
	b.pass(time.Hour)
	b.ageAll()
	b.reap(time.Now())
	b.reap(time.Now().Add(trashIdle + time.Second))
	if len(b.freeServices) != free+1 || len(b.trash) != 0 {
		t.Errorf("%d services free, %d destinations in the trash", len(b.freeServices), len(b.trash))
	}
	if b.vips.counts[filterPlace(vip.Addr())] != 0 {
		t.Error("the datapath still takes packets for the VIP that is forgotten")
	}
}

// Counters start anew at -Z, and a service's outlast its destinations.
func TestCounters(t *testing.T) {
	b := established(t, "-m") // 2 in, 1 out, 40 bytes each
	stats := func() (service, destination ipvs.Stats) {
		s, err := b.Service(ipvs.Key{Protocol: ipvs.TCP, VIP: vip})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Destinations) == 0 {
			return s.Stats, ipvs.Stats{}
		}
		return s.Stats, s.Destinations[0].Stats
	}
	want := func(when string, service, destination ipvs.Stats) {
		t.Helper()
		gotService, gotDestination := stats()
		if gotService != service || gotDestination != destination {
			t.Errorf("%s: service %+v, destination %+v", when, gotService, gotDestination)
		}
	}
	handshake := ipvs.Stats{Conns: 1, InPkts: 2, OutPkts: 1, InBytes: 80, OutBytes: 40}
	one := ipvs.Stats{InPkts: 1, InBytes: 40}
	data := tcp(client, vip, "A")
	want("at first", handshake, handshake)
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
	want("without the destination", handshake, ipvs.Stats{})
	b.send(clientMAC, data)
	want("a packet to the removed one", handshake, ipvs.Stats{})
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	want("with it again", handshake, handshake)
	b.apply("-Z")
	want("zeroed", ipvs.Stats{}, ipvs.Stats{})
	b.send(clientMAC, data)
	want("after that", one, one)
	b.apply("-Z -t 10.0.0.80:80")
	want("zeroed by name", ipvs.Stats{}, ipvs.Stats{})
	b.send(clientMAC, data)
	b.apply("-D -t 10.0.0.80:80", "-A -t 10.0.0.80:80 -s rr")
	want("a new service", ipvs.Stats{}, ipvs.Stats{})
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	want("with the old destination", ipvs.Stats{}, ipvs.Stats{})
	b.send(clientMAC, data)
	want("and a packet", one, one)
}

// Maps that are full refuse, and what is there stays.
func TestTablesFull(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	before := b.ipvsadm("-S -n")
	services, dests := b.freeServices, b.freeDests
	b.freeServices, b.freeDests = nil, nil
	for _, line := range []string{"-A -t 10.0.0.81:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.12:80 -m"} {
		if out := b.ipvsadm(line); out != "Memory allocation problem\n" {
			t.Errorf("%s: %q", line, out)
		}
	}
	if after := b.ipvsadm("-S -n"); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	b.freeServices, b.freeDests = services, dests
	b.apply("-A -t 10.0.0.81:80 -s rr")
}
