// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// With cache_bypass, packets of a mark without a real server go on to where they
// were sent, and their connections stay at that: recorded of the kernel.
func TestBypass(t *testing.T) {
	b := newBench(t, "-A -f 1 -s rr")
	b.addWay(t, "203.0.113.1/24", netip.MustParseAddr("203.0.113.7"), net.HardwareAddr{2, 0, 0, 0, 0xff, 1}, 1500)
	b.markBy(markRule(t, "203.0.113.0/24 any all 1"))
	web, dns := netip.MustParseAddrPort("203.0.113.7:80"), netip.MustParseAddrPort("203.0.113.7:53")
	local := netip.MustParseAddrPort("203.0.113.1:80")
	syn := tcp(client, web, "S")
	if o := b.send(clientMAC, syn); o.verdict != "no-destination" {
		t.Errorf("off: %s", o.verdict)
	}
	b.set("cache_bypass", "1")
	for _, step := range []struct {
		name, want string
		ip         []byte
	}{
		{"SYN", "bypass", syn},
		{"ACK", "bypass", tcp(client, web, "A")},
		{"datagram", "bypass", udp(client, dns, 'x')},
		{"ACK of no connection", "no-connection", tcp(clientNumber(1), web, "A")},
		{"to the director itself", "no-destination", tcp(client, local, "S")},
		{"error", "unrelated", icmpError(client.Addr(), web.Addr(), 3, 3, 0, tcp(web, client, "A"))},
	} {
		o := b.send(clientMAC, step.ip)
		if passed := o.action == xdpPass && bytes.Equal(o.ip, step.ip); o.verdict != step.want || passed != (step.want != "no-destination") {
			t.Errorf("%s: %s, want %s", step.name, o.verdict, step.want)
		}
	}
	b.apply("-a -f 1 -r 192.168.1.11 -g")
	b.resolve()
	for name, ip := range map[string][]byte{"datagram": udp(client, dns, 'x'), "FIN": tcp(client, web, "FA")} {
		if o := b.send(clientMAC, ip); o.verdict != "bypass" {
			t.Errorf("%s, though there is a server: %s", name, o.verdict)
		}
	}
	if o := b.send(clientMAC, tcp(clientNumber(2), web, "S")); o.verdict != "route" {
		t.Errorf("new connection: %s", o.verdict)
	}
	listed := make(map[string]string)
	for _, c := range b.conns() {
		if c.CIP == client {
			listed[c.VIP.String()+" "+c.RIP.String()] = c.State
		}
	}
	want := map[string]string{"203.0.113.7:53 0.0.0.0:0": "UDP", "203.0.113.7:80 0.0.0.0:0": "CLOSE_WAIT"}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if stats := b.ipvsadm("-L -n --stats --exact"); !bytes.Contains([]byte(stats), []byte("FWM  1                                   1        1        0")) {
		t.Errorf("counted:\n%s", stats)
	}
}

// An address's service has no such way out.
func TestNoBypass(t *testing.T) {
	b := newBench(t, "-A -t 203.0.113.7:80 -s rr")
	b.addWay(t, "203.0.113.1/24", netip.MustParseAddr("203.0.113.7"), net.HardwareAddr{2, 0, 0, 0, 0xff, 1}, 1500)
	b.set("cache_bypass", "1")
	if o := b.send(clientMAC, tcp(client, netip.MustParseAddrPort("203.0.113.7:80"), "S")); o.verdict != "no-destination" {
		t.Errorf("%s", o.verdict)
	}
}
