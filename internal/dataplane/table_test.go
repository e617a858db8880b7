// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// fill opens UDP flows, two packets each so that none is embryonic, until none
// finds room.
func (b *bench) fill(service netip.AddrPort) (flows int) {
	b.t.Helper()
	for n := 0; ; n++ {
		if o := b.send(clientMAC, udp(clientNumber(n), service, 'x')); o.verdict == "table-full" {
			return n
		}
		b.send(clientMAC, udp(clientNumber(n), service, 'x'))
	}
}

// Connections whose time is over give room at once, whether ageing or a listing
// has met them or not.
func TestDeadEntriesGiveRoom(t *testing.T) {
	for name, meet := range map[string]func(*bench){
		"not met":       func(*bench) {},
		"met by a list": func(b *bench) { b.ipvsadm("-L -n") },
		"met by ageing": func(b *bench) {
			for range b.groups.at {
				b.Age()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, 16, "-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11 -g")
			flows := b.fill(dns)
			b.pass(6 * time.Minute)
			meet(b)
			for n := range flows {
				if o := b.send(clientMAC, udp(clientNumber(1000+n), dns, 'x')); o.verdict != "route" {
					t.Fatalf("new flow %d: %s", n, o.verdict)
				}
			}
			b.checkLoads()
		})
	}
}

// checkLoads compares what destinations count, and how many connections
// templates control, with the entries there are.
func (b *bench) checkLoads() {
	b.t.Helper()
	type load struct{ active, total, persistent uint32 }
	want := make(map[uint32]load)
	controlled := make(map[*directorConn]uint32)
	var templates []*directorConn
	for e, life := range b.live() {
		conn := e.conn
		l := want[conn.Dest]
		switch {
		case isTemplate(conn):
			l.persistent++
			templates = append(templates, conn)
		case isActive(stateOf(life)):
			l.active++
			fallthrough
		default:
			l.total++
			template, _ := b.template(conn.Control)
			controlled[template.conn]++
		}
		want[conn.Dest] = l
	}
	for i := range b.loads.at {
		active, total := b.loadOf(uint32(i))
		if got := (load{active, total, b.loads.at[i].Persistent}); got != want[uint32(i)] {
			b.t.Errorf("destination %d counts %+v, but there are %+v", i, got, want[uint32(i)])
		}
	}
	for _, template := range templates {
		if template.Control != controlled[template] {
			b.t.Errorf("a template controls %d connections, but there are %d", template.Control, controlled[template])
		}
	}
}

// conns are the connections as listed.
func (b *bench) conns() (conns []ipvs.Conn) {
	b.t.Helper()
	err := b.Conns(func(c ipvs.Conn) error {
		conns = append(conns, c)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return conns
}

// An established connection is never lost to others, and whoever finds no room
// is counted.
func TestFullTableKeepsConnections(t *testing.T) {
	b := newBenchOf(t, 512, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11 -g")
	var kept []netip.AddrPort
	full := uint64(0)
	before := b.verdicts()["table-full"]
	for n := range 2000 {
		c := clientNumber(n)
		switch o := b.send(clientMAC, tcp(c, vip, "S")); o.verdict {
		case "route":
			b.send(clientMAC, tcp(c, vip, "A"))
			kept = append(kept, c)
		case "table-full":
			full++
		default:
			t.Fatalf("connection %d: %s", n, o.verdict)
		}
	}
	if got := b.verdicts()["table-full"] - before; got != full || full == 0 {
		t.Errorf("table-full counts %d, want %d", got, full)
	}
	if len(kept) < 512 {
		t.Errorf("room for %d connections, want 512", len(kept))
	}
	for _, c := range kept {
		if o := b.send(clientMAC, tcp(c, vip, "A")); o.verdict != "route" || o.state != "ESTABLISHED" {
			t.Fatalf("%s was lost: %s", c, o.verdict)
		}
	}
	b.checkLoads()
}

// A flood of SYNs twice the table's size: connections stay, and nearly every
// honest client still gets in.
func TestFlood(t *testing.T) {
	const room, honest = 8192, 1000
	b := newBenchOf(t, room, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12 -m")
	p := player{bench: b, forward: "nat", flows: make(map[int]playedFlow)}
	open := func(n int) playedFlow {
		c := clientNumber(n)
		return playedFlow{c, vip, netip.MustParseAddrPort(p.server(b.send(clientMAC, tcp(c, vip, "S"))))}
	}
	var live []playedFlow
	for n := range 1000 {
		f := open(n)
		if wrong := p.exchange(f, "<SA", ">A"); wrong != "" {
			t.Fatal(wrong)
		}
		live = append(live, f)
	}
	// 100 000 packets a second, and a handshake takes 100 of them.
	waiting, lost := []playedFlow{}, 0
	for n := range 2 * room {
		if o := b.send(clientMAC, tcp(clientNumber(100000+n), vip, "S")); o.verdict != "masq-in" && o.verdict != "table-full" {
			t.Fatalf("flood: %s", o.verdict)
		}
		if n%(100000/ticksPerSecond) == 0 {
			b.at(b.now + 1)
		}
		if n%(2*room/honest) != 0 {
			continue
		}
		c := clientNumber(50000 + n)
		if o := b.send(clientMAC, tcp(c, vip, "S")); o.verdict == "masq-in" {
			waiting = append(waiting, playedFlow{c, vip, netip.MustParseAddrPort(p.server(o))})
		} else {
			lost++
		}
		if len(waiting) > 100*honest/(2*room) {
			if p.exchange(waiting[0], "<SA", ">A", "<A") != "" {
				lost++
			}
			waiting = waiting[1:]
		}
	}
	for _, f := range live {
		if wrong := p.exchange(f, ">A", "<A"); wrong != "" {
			t.Errorf("a connection was lost: %s", wrong)
		}
	}
	if lost > honest/100 {
		t.Errorf("%d of %d honest handshakes failed", lost, honest)
	}
	t.Logf("%d of %d honest handshakes failed", lost, honest)
	b.checkLoads()
}

// Where a flood fills first groups, those that come find their places there, and
// leave no marks that would make each search a longer one.
func TestFloodLeavesNoMarks(t *testing.T) {
	const room = 1024
	b := newBenchOf(t, room, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11 -g")
	sent := 0
	flood := func() {
		for range 3 * room {
			b.send(clientMAC, tcp(clientNumber(sent), vip, "S"))
			sent++
		}
	}
	flood()
	if b.marked() == 0 {
		t.Fatal("nobody went past a group while the table filled")
	}
	for range 4 {
		b.pass(5 * time.Second) // half-open connections live for a minute
		b.ageAll()
		flood()
		b.checkPlaces()
	}
	if n := b.marked(); n != 0 {
		t.Errorf("%d groups are marked", n)
	}
	b.checkLoads()
}
