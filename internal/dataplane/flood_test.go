// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"
	"time"
)

// A flood of packets that open connections, and how a client goes on with its own.
type flood struct {
	name   string
	open   func(client netip.AddrPort) []byte
	goOn   func(client netip.AddrPort) []byte
	isMade func(life uint32) bool // it went on
}

var floods = []flood{
	{
		"SYNs",
		func(c netip.AddrPort) []byte { return tcp(c, vip, "S") },
		func(c netip.AddrPort) []byte { return tcp(c, vip, "A") },
		func(life uint32) bool { return stateOf(life) == directorStateSTATE_ESTABLISHED },
	},
	{
		"datagrams",
		func(c netip.AddrPort) []byte { return udp(c, dns, 'x') },
		func(c netip.AddrPort) []byte { return udp(c, dns, 'x') },
		func(life uint32) bool { return life&lifeConfirmed != 0 },
	},
}

func eachFlood(t *testing.T, room int, run func(t *testing.T, b *bench, f flood)) {
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			run(t, newBenchOf(t, room,
				"-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11 -g",
				"-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11 -g"), f)
		})
	}
}

// openFrom sends the first packets of clients from a number on.
func (b *bench) openFrom(f flood, first, count int) {
	b.t.Helper()
	for n := range count {
		if o := b.send(clientMAC, f.open(clientNumber(first+n))); o.verdict != "route" {
			b.t.Fatalf("client %d: %s", first+n, o.verdict)
		}
	}
}

// make opens connections that go on at once.
func (b *bench) make(f flood, count int) {
	b.t.Helper()
	for n := range count {
		b.openFrom(f, n, 1)
		b.send(clientMAC, f.goOn(clientNumber(n)))
	}
}

func (b *bench) countLives(is func(life uint32) bool) (n int) {
	for _, life := range b.live() {
		if is(life) {
			n++
		}
	}
	return n
}

// While a flood takes the places of all half-open connections every two seconds,
// handshakes of half a second come to their end, and what is made stays.
func TestFloodLeavesTimeForHandshakes(t *testing.T) {
	const room, made, handshake, laps = 2048, 700, ticksPerSecond / 2, 8 * ticksPerSecond
	const perTick = (room - made) / (2 * ticksPerSecond)
	eachFlood(t, room, func(t *testing.T, b *bench, f flood) {
		b.make(f, made)
		sent := 100000
		lap := func() {
			b.openFrom(f, sent, perTick)
			sent += perTick
			b.at(b.now + 1)
		}
		for range 4 * ticksPerSecond { // until the table is full, and older
			lap()
		}
		for n := range laps + handshake {
			if n < laps {
				b.openFrom(f, 50000+n, 1)
			}
			if n >= handshake {
				b.send(clientMAC, f.goOn(clientNumber(50000+n-handshake)))
			}
			lap()
		}
		if got := b.countLives(f.isMade); got != made+laps {
			t.Errorf("%d connections are made, want %d", got, made+laps)
		}
		b.checkPlaces()
		b.checkLoads()
	})
}

// When a flood is over, what comes finds room beside what is left of it. Hardly anybody
// gives way: who comes to a full group before the first search that finds room has one do.
func TestRoomAfterFlood(t *testing.T) {
	const room = 2048
	eachFlood(t, room, func(t *testing.T, b *bench, f flood) {
		b.apply("--set 900 120 60") // half-open ones last for a minute, TCP's anyway
		b.openFrom(f, 100000, 3*room)
		b.pass(40 * time.Second)
		b.openFrom(f, 200000, room/2) // some take the place of others
		b.pass(30 * time.Second)
		b.ageAll()
		b.ageAll()
		left := len(b.conns())
		if left < room/4 || left > room/2 {
			t.Fatalf("%d connections of the flood are left", left)
		}
		b.openFrom(f, 0, room/4)
		if got := len(b.conns()); got < left+room/4-4 {
			t.Errorf("%d connections, want %d", got, left+room/4)
		}
		b.checkPlaces()
		b.checkLoads()
	})
}
