// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// vipNumber is one of many VIPs.
func vipNumber(n int) netip.AddrPort {
	return addrPort(10, 1, byte(n>>8), byte(n), 53)
}

// checkPlaces looks whether each connection is where a search comes by: it goes
// on only from groups that are marked.
func (b *bench) checkPlaces() {
	b.t.Helper()
	for g := range b.groups.at {
		for e := range b.entries(g, g+1) {
			if phaseOf(*e.life) != phaseLive {
				continue
			}
			for past := range b.groupsBefore(e.conn, uint32(g)) {
				if b.groups.at[past].Passed == 0 {
					b.t.Errorf("a connection of %s is in group %d, and nothing at %d leads there", fromAddr(e.conn.Cip), g, past)
				}
			}
		}
	}
}

// marked returns how many groups say that somebody went past them.
func (b *bench) marked() (n int) {
	for g := range b.groups.at {
		if b.groups.at[g].Passed != 0 {
			n++
		}
	}
	return n
}

// One socket of a client speaks to more VIPs than its groups have room for, and
// all are found while they last; what it left on its way is gone after it.
func TestOneClientManyVIPs(t *testing.T) {
	const vips = 1000
	b := newBenchOf(t, 4096)
	for n := range vips {
		b.apply(fmt.Sprintf("-A -u %s -s rr", vipNumber(n)), fmt.Sprintf("-a -u %s -r 192.168.1.%d:53 -g", vipNumber(n), 11+n%20))
	}
	send := func(n int) {
		t.Helper()
		o := b.send(clientMAC, udp(client, vipNumber(n), 'x'))
		if want := serverMAC(byte(11 + n%20)); o.verdict != "route" || o.mac.String() != want.String() {
			t.Fatalf("to VIP %d: %s to %s, want it at %s", n, o.verdict, o.mac, want)
		}
	}
	for range 3 {
		for n := range vips {
			send(n)
		}
		if got := len(b.conns()); got != vips {
			t.Fatalf("%d connections, want %d", got, vips)
		}
		for range 4 { // marks that are needed stay
			b.pass(time.Minute)
			b.ageAll()
		}
		b.checkPlaces()
	}
	if b.marked() < vips/groupConns {
		t.Errorf("%d groups are marked", b.marked())
	}
	b.pass(time.Hour)
	for range 4 {
		b.ageAll()
		b.pass(10 * time.Second)
	}
	if b.marked() != 0 {
		t.Errorf("%d groups are marked when all is over", b.marked())
	}
	b.checkLoads()
}

// The same by NAT, where answers must find their connections, too.
func TestOneClientManyServers(t *testing.T) {
	const vips = 100
	b := newBenchOf(t, 1024)
	for n := range vips {
		b.apply(fmt.Sprintf("-A -u %s -s rr", vipNumber(n)), fmt.Sprintf("-a -u %s -r 192.168.1.%d:53 -m", vipNumber(n), 11+n))
	}
	for n := range vips {
		b.send(clientMAC, udp(client, vipNumber(n), 'x'))
	}
	for n := range vips {
		o := b.send(serverMAC(byte(11+n)), udp(addrPort(192, 168, 1, byte(11+n), 53), client, 'y'))
		if o.verdict != "masq-out" || address(o.ip[12:]) != vipNumber(n).Addr() {
			t.Fatalf("answer of server %d: %s from %s", n, o.verdict, address(o.ip[12:]))
		}
	}
	b.checkPlaces()
}

// Half-open connections of one client's port do not push each other out.
func TestCrowdStays(t *testing.T) {
	b := newBenchOf(t, 1024)
	for n := range 200 {
		b.apply(fmt.Sprintf("-A -u %s -s rr", vipNumber(n)), fmt.Sprintf("-a -u %s -r 192.168.1.11:53 -g", vipNumber(n)))
		b.send(clientMAC, udp(client, vipNumber(n), 'x'))
	}
	if got := len(b.conns()); got != 200 {
		t.Errorf("%d connections, want 200", got)
	}
}

// clientsIn returns clients' ports whose datagrams begin connections in a group.
func (b *bench) clientsIn(group uint32, count int) (clients []netip.AddrPort) {
	for port := uint16(1024); len(clients) < count; port++ {
		c := directorConn{Cip: toAddr(client.Addr()), Cport: networkOrder(port), Proto: 17}
		if port != client.Port() && b.placeOf(&c).first == group {
			clients = append(clients, netip.AddrPortFrom(client.Addr(), port))
		}
	}
	return clients
}

// Nor do they push out each other, or others, where others came before them.
func TestCrowdStaysBesideOthers(t *testing.T) {
	home := func(b *bench) place {
		return b.placeOf(&directorConn{Cip: toAddr(client.Addr()), Cport: networkOrder(client.Port()), Proto: 17})
	}
	for _, where := range []struct {
		name  string
		group func(place) uint32
	}{
		{"in the first group", func(p place) uint32 { return p.first }},
		{"in the second group", func(p place) uint32 { return p.second }},
	} {
		for _, others := range []int{1, 7, 8, groupConns - 1} {
			t.Run(fmt.Sprintf("%d %s", others, where.name), func(t *testing.T) {
				b := newBenchOf(t, 1024)
				b.apply(fmt.Sprintf("-A -u %s -s rr", vipNumber(0)), fmt.Sprintf("-a -u %s -r 192.168.1.11:53 -g", vipNumber(0)))
				for _, other := range b.clientsIn(where.group(home(b)), others) {
					b.send(clientMAC, udp(other, vipNumber(0), 'x'))
				}
				const crowd = 50
				for n := range crowd {
					b.apply(fmt.Sprintf("-A -u %s -s rr", vipNumber(n+1)), fmt.Sprintf("-a -u %s -r 192.168.1.11:53 -g", vipNumber(n+1)))
					b.send(clientMAC, udp(client, vipNumber(n+1), 'x'))
				}
				if got := len(b.conns()); got != others+crowd {
					t.Errorf("%d connections, want %d", got, others+crowd)
				}
			})
		}
	}
}
