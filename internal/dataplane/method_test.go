// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// methods are all forwarding methods, as ipvsadm's options.
var methods = []string{"-m", "-g", "-i", "-i --tun-type gre", "-i --tun-type gue --tun-port 6080"}

// wayOf says by which method a packet that the datapath sent on went.
func wayOf(o outcome) string {
	if o.mac == nil {
		return o.verdict
	}
	_, to, proto, l4 := transportOf(o.ip)
	switch {
	case proto == 4:
		return "-i"
	case proto == 47:
		return "-i --tun-type gre"
	case proto == 17:
		return fmt.Sprintf("-i --tun-type gue --tun-port %d", int(l4[2])<<8|int(l4[3]))
	case to == vip.Addr():
		return "-g"
	}
	return "-m"
}

func isTunnel(method string) bool { return strings.HasPrefix(method, "-i") }

// A connection keeps the method that it began with, whatever new ones get; those
// in a tunnel share their destination's, as in the kernel (ip_vs_xmit.c:
// ip_vs_tunnel_xmit), for as long as it has one.
func TestChangeOfMethod(t *testing.T) {
	for _, before := range methods {
		for _, after := range methods {
			t.Run(before+" to "+after, func(t *testing.T) {
				b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 "+before)
				old := clientPort(1)
				b.send(clientMAC, tcp(old, vip, "S"))
				b.apply("-e -t 10.0.0.80:80 -r 192.168.1.11:80 " + after)
				want := before
				if isTunnel(before) && isTunnel(after) {
					want = after
				}
				b.wantWay("old", old, "A", want)
				b.wantWay("new", clientPort(2), "S", after)
				b.wantReplied(old, before)
				b.wantReplied(clientPort(2), after)

				saved := b.ipvsadm("-S -n")
				b.relearn(t) // as the next director does
				if again := b.ipvsadm("-S -n"); again != saved {
					t.Errorf("adopted:\n%sbefore:\n%s", again, saved)
				}
				b.resolve()
				b.wantWay("old, adopted", old, "A", want)
				b.wantWay("new, adopted", clientPort(3), "S", after)

				b.apply("-e -t 10.0.0.80:80 -r 192.168.1.11:80 " + before)
				b.wantWay("old, changed back", old, "A", before)
				b.checkLoads()
			})
		}
	}
}

func (b *bench) wantWay(what string, from netip.AddrPort, flags, want string) {
	b.t.Helper()
	if way := wayOf(b.send(clientMAC, tcp(from, vip, flags))); way != want {
		b.t.Errorf("%s: went %q, want %q", what, way, want)
	}
}

// wantReplied has the real server answer a connection. Only NAT has that pass
// through the datapath's hands.
func (b *bench) wantReplied(to netip.AddrPort, method string) {
	b.t.Helper()
	o := b.send(serverMAC(11), tcp(server11, to, "SA"))
	if method != "-m" {
		if o.verdict != "not-ours" {
			b.t.Errorf("reply of a connection by %s: %s", method, o.verdict)
		}
		return
	}
	if from, _ := endpoints(o.ip); o.verdict != "masq-out" || from != vip || broken(o.ip) != "" {
		b.t.Errorf("reply: %s from %s %s", o.verdict, from, broken(o.ip))
	}
}
