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
	dns := netip.MustParseAddrPort("10.0.0.80:53")
	for name, meet := range map[string]func(*bench){
		"not met":       func(*bench) {},
		"met by a list": func(b *bench) { b.ipvsadm("-L -n") },
		"met by ageing": func(b *bench) {
			for range b.buckets.at {
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

// checkLoads compares what destinations count with the entries there are.
func (b *bench) checkLoads() {
	b.t.Helper()
	type load struct{ active, total uint32 }
	want := make(map[uint32]load)
	for i := range b.buckets.at {
		for _, conn := range b.buckets.at[i].Conns {
			if phaseOf(conn.Life) != phaseLive {
				continue
			}
			l := want[conn.Dest]
			l.total++
			if isActive(stateOf(conn.Life)) {
				l.active++
			}
			want[conn.Dest] = l
		}
	}
	for i := range b.loads.at {
		active, total := b.loadOf(uint32(i))
		if got := (load{active, total}); got != want[uint32(i)] {
			b.t.Errorf("destination %d counts %+v, but there are %+v", i, got, want[uint32(i)])
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
