// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"testing"
)

// strays returns how a NAT server's packets of no connection fare: TCP, UDP.
func (b *bench) strays(from netip.AddrPort) string {
	b.t.Helper()
	return b.send(serverMAC(11), tcp(from, client, "SA")).verdict + " " + b.send(serverMAC(11), udp(from, client, 'x')).verdict
}

// With nat_icmp_send a NAT real server hears that its packet belongs to no
// connection, from the director.
func TestStray(t *testing.T) {
	for _, test := range []struct {
		server, stranger netip.AddrPort
		established      func(*testing.T, string) *bench
		director         netip.Addr
		kind, code       byte
	}{
		{server11, netip.MustParseAddrPort("172.16.0.5:41000"), established, directorAddress, 3, 3},
		{server6, netip.AddrPortFrom(client6.Addr(), 41000), established6, directorAddress6, 1, 4},
	} {
		b := test.established(t, "-m")
		answer := tcp(test.server, test.stranger, "A")
		if o := b.send(serverMAC(11), answer); o.verdict != "not-ours" {
			t.Errorf("off: %s", o.verdict)
		}
		b.set("nat_icmp_send", "1")
		o := b.send(serverMAC(11), answer)
		src, dst, _, icmp := transportOf(o.ip)
		if o.verdict != "stray" || o.mac.String() != serverMAC(11).String() || broken(o.ip) != "" {
			t.Fatalf("%s to %s, %s", o.verdict, o.mac, broken(o.ip))
		}
		if src != test.director || dst != test.server.Addr() || icmp[0] != test.kind || icmp[1] != test.code {
			t.Errorf("%s to %s: type %d code %d", src, dst, icmp[0], icmp[1])
		}
		b.set("nat_icmp_send", "0")
		if o := b.send(serverMAC(11), answer); o.verdict != "not-ours" {
			t.Errorf("off again: %s", o.verdict)
		}
	}
}

// What is of a connection, a RST, or about to expire is not answered.
func TestNoStray(t *testing.T) {
	b := established(t, "-m")
	b.set("nat_icmp_send", "1")
	stranger := netip.AddrPortFrom(client.Addr(), 41000)
	for _, test := range []struct {
		name string
		ip   []byte
		want string
	}{
		{"of a connection", tcp(server11, client, "A"), "masq-out"},
		{"RST", tcp(server11, stranger, "RA"), "not-ours"},
		{"other port", tcp(netip.AddrPortFrom(server11.Addr(), 81), stranger, "A"), "not-ours"},
		{"other protocol", udp(server11, stranger, 'x'), "not-ours"},
		{"TTL 1", with(tcp(server11, stranger, "A"), func(ip []byte) { ip[8] = 1 }), "not-ours"},
		{"to the VIP", tcp(server11, vip, "A"), "stray"},
	} {
		if o := b.send(serverMAC(11), test.ip); o.verdict != test.want {
			t.Errorf("%s: %s, want %s", test.name, o.verdict, test.want)
		}
	}
}

// Whoever is a real server of NAT is one by any of its destinations, as long as
// that is in service, whatever its weight.
func TestStrayServers(t *testing.T) {
	b := newBench(t)
	b.set("nat_icmp_send", "1")
	for i, step := range []struct{ line, want string }{
		{"-A -t 10.0.0.80:80", "not-ours not-ours"},
		{"-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g", "not-ours not-ours"},
		{"-e -t 10.0.0.80:80 -r 192.168.1.11:80 -m -w 0", "stray not-ours"},
		{"-A -t 10.0.0.81:80", "stray not-ours"},
		{"-a -t 10.0.0.81:80 -r 192.168.1.11:80 -m", "stray not-ours"},
		{"-d -t 10.0.0.80:80 -r 192.168.1.11:80", "stray not-ours"},
		{"-e -t 10.0.0.81:80 -r 192.168.1.11:80 -i", "not-ours not-ours"},
		{"-A -f 1", "not-ours not-ours"},
		{"-a -f 1 -r 192.168.1.11:80 -m", "stray stray"},
		{"-e -t 10.0.0.81:80 -r 192.168.1.11:80 -m", "stray stray"},
		{"-D -f 1", "stray not-ours"},
		{"-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m", "stray not-ours"},
		{"-C", "not-ours not-ours"},
	} {
		b.apply(step.line)
		if got := b.strays(server11); got != step.want {
			t.Errorf("%d, after %s: %s, want %s", i, step.line, got, step.want)
		}
		b.set("nat_icmp_send", fmt.Sprint(i%3)) // as good as any other way to tell
		b.set("nat_icmp_send", "1")
		if got := b.strays(server11); got != step.want {
			t.Errorf("%d, after %s and told anew: %s, want %s", i, step.line, got, step.want)
		}
	}
}
