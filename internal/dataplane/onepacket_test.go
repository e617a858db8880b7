// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

var dns = netip.MustParseAddrPort("10.0.0.80:53")

// Each packet of a one-packet service is scheduled by itself and leaves nothing
// but counts, with every method; answers are not the datapath's.
func TestOnePacket(t *testing.T) {
	for method, verdict := range map[string]string{"-m": "masq-in", "-g": "route", "-i": "tunnel"} {
		t.Run(method, func(t *testing.T) {
			b := newBench(t, "-A -u 10.0.0.80:53 -s rr -o",
				"-a -u 10.0.0.80:53 -r 192.168.1.11:53 "+method+" -x 1",
				"-a -u 10.0.0.80:53 -r 192.168.1.12:53 "+method+" -x 1")
			var to []byte
			for range 4 {
				o := b.send(clientMAC, udp(client, dns, 'x'))
				if o.verdict != verdict || broken(o.ip) != "" {
					t.Errorf("a datagram: %s %s", o.verdict, broken(o.ip))
				}
				to = append(to, o.mac[5])
			}
			if string(to) != "\x12\x11\x12\x11" {
				t.Errorf("sent to %x in turn", to)
			}
			o := b.send(serverMAC(11), udp(netip.MustParseAddrPort("192.168.1.11:53"), client, 'y'))
			if o.verdict != "not-ours" {
				t.Errorf("its answer: %s", o.verdict)
			}
			if conns := b.conns(); len(conns) != 0 {
				t.Errorf("connections %v", conns)
			}
			b.checkLoads()
			s, err := b.Service(ipvs.Key{Protocol: ipvs.UDP, VIP: dns})
			if want := (ipvs.Stats{Conns: 4, InPkts: 4, InBytes: 4 * 29}); err != nil || s.Stats != want {
				t.Errorf("counted %+v, %v", s.Stats, err)
			}
		})
	}
}

// What is in the way of a packet is in the way of a one-packet service's, too.
func TestOnePacketNotSent(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr -o")
	datagram := udp(client, dns, 'x')
	expect := func(what string, packet []byte, verdict string) {
		t.Helper()
		if o := b.send(clientMAC, packet); o.verdict != verdict {
			t.Errorf("%s: %s, want %s", what, o.verdict, verdict)
		}
	}
	expect("without a server", datagram, "no-destination")
	b.apply("-a -u 10.0.0.80:53 -r 192.168.1.11:53 -m")
	expect("at its last hop", withTTL(datagram, 1), "ttl-exceeded")
	b.apply("-e -u 10.0.0.80:53 -r 192.168.1.11:53 -m -w 0")
	expect("with a drained server", datagram, "no-destination")
	b.apply("-e -u 10.0.0.80:53 -r 192.168.1.11:53 -m -w 1")
	expect("with a server", datagram, "masq-in")
}

// A flow that was there before goes on as it was, until its time is over; a TCP
// service knows no such thing.
func TestOnePacketSwitched(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr", "-A -t 10.0.0.80:80 -s rr",
		"-a -u 10.0.0.80:53 -r 192.168.1.11:53 -g", "-a -u 10.0.0.80:53 -r 192.168.1.12:53 -g",
		"-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	datagram := udp(client, dns, 'x')
	first := b.send(clientMAC, datagram).mac
	b.apply("-E -u 10.0.0.80:53 -s rr -o")
	for range 3 {
		if o := b.send(clientMAC, datagram); o.mac.String() != first.String() {
			t.Errorf("the flow moved to %s", o.mac)
		}
	}
	if o := b.send(clientMAC, udp(clientNumber(1), dns, 'x')); o.verdict != "route" || len(b.conns()) != 1 {
		t.Errorf("another client: %s, connections %v", o.verdict, b.conns())
	}
	if err := b.Dataplane.Apply(ipvs.Change{Op: ipvs.EditService, Service: ipvs.Service{
		Key: ipvs.Key{Protocol: ipvs.TCP, VIP: vip}, Scheduler: "rr", Flags: ipvs.OnePacket,
	}}); err != nil {
		t.Fatal(err)
	}
	if o := b.send(clientMAC, tcp(client, vip, "S")); o.state != "SYN_RECV" || len(b.conns()) != 2 {
		t.Errorf("TCP: %s, connections %v", o.state, b.conns())
	}
}
