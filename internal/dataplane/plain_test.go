// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// programAny is bpf/programs.h: PROGRAM_ANY.
const programAny = uint32(0)

// plainFlow is a connection whose packets are plain.
type plainFlow struct {
	protocol         string // as ipvsadm's option
	client, vip, rip netip.AddrPort
}

func (f plainFlow) packet(from, to netip.AddrPort, flags string) []byte {
	payload := slices.Repeat([]byte{7}, 100)
	if f.protocol == "-u" {
		return udp(from, to, payload...)
	}
	return tcp(from, to, flags, payload...)
}

// Packets that are plain go the short way, and come to the same by the long one.
func TestPlainPackets(t *testing.T) {
	rip, rip6 := netip.MustParseAddrPort("192.168.1.11:8080"), netip.MustParseAddrPort("[2001:db8:1::11]:8080")
	for _, flow := range []plainFlow{
		{"-t", client, vip, rip},
		{"-u", client, vip, rip},
		{"-t", client6, vip6, rip6},
		{"-u", client6, vip6, rip6},
	} {
		for _, method := range []string{"-m", "-g", "-i"} {
			t.Run(fmt.Sprint(method, " ", flow.protocol, " ", flow.vip), func(t *testing.T) {
				service := flow.protocol + " " + flow.vip.String()
				b := newBench(t, "-A "+service+" -s rr", "-a "+service+" -r "+flow.rip.String()+" "+method)
				request := frame(clientMAC, flow.packet(flow.client, flow.vip, "A"))
				b.send(clientMAC, flow.packet(flow.client, flow.vip, "S"))
				b.sendFrame(request) // of UDP the second confirms
				b.checkBothWays(request)
				if method == "-m" {
					reply := frame(serverMAC(11), flow.packet(flow.rip, flow.client, "A"))
					b.sendFrame(reply) // finds the way to the client
					b.checkBothWays(reply)
				}
			})
		}
	}
}

// Either family's packets may be wrapped in the other.
func TestPlainPacketsInOtherFamily(t *testing.T) {
	for _, test := range []struct {
		client, vip netip.AddrPort
		rip         string
	}{
		{client, vip, "[2001:db8:1::11]:80"},
		{client6, vip6, "192.168.1.11:80"},
	} {
		b := newBench(t, "-A -t "+test.vip.String()+" -s rr", "-a -t "+test.vip.String()+" -r "+test.rip+" -i")
		b.send(clientMAC, tcp(test.client, test.vip, "S"))
		b.checkBothWays(frame(clientMAC, tcp(test.client, test.vip, "A")))
	}
}

// A NAT real server that is a client, too, may send its request from the port that it serves at. If
// that is an answer to a client of its own, who has the VIP's address, or a stray, it is so first of
// all (ip_vs_core.c: ip_vs_out_hook()).
func TestPlainRequestOfRealServer(t *testing.T) {
	sip := netip.MustParseAddrPort("10.0.0.80:5060")
	request := frame(serverMAC(11), udp(netip.MustParseAddrPort("192.168.1.11:5060"), sip, make([]byte, 100)...))
	for _, method := range []string{"-m", "-g", "-i"} {
		t.Run(method, func(t *testing.T) {
			b := newBench(t, "-A -u 10.0.0.80:5060 -s rr", "-a -u 10.0.0.80:5060 -r 192.168.1.12 "+method)
			b.sendFrame(request)
			b.sendFrame(request) // confirms
			b.checkBothWays(request)

			b.apply("-A -u 10.0.0.81:5060 -s rr", "-a -u 10.0.0.81:5060 -r 192.168.1.11 -m")
			b.set("nat_icmp_send", "1")
			if o := b.sendFrame(request); o.verdict != "stray" {
				t.Errorf("of no connection in which it is the server: %s, want stray", o.verdict)
			}

			b.send(clientMAC, udp(sip, netip.MustParseAddrPort("10.0.0.81:5060"), 'x'))
			if o := b.sendFrame(request); o.verdict != "masq-out" {
				t.Errorf("to its own client: %s, want masq-out", o.verdict)
			}
			b.checkBothWays(request)
		})
	}
}

// checkBothWays sends a packet by each way, and by the short one while there is no other.
func (b *bench) checkBothWays(frame []byte) {
	b.t.Helper()
	b.program, b.longWay = b.longWay, b.program
	long := b.sendFrame(frame)
	b.program, b.longWay = b.longWay, b.program
	if diff := cmp.Diff(long, b.sendShort(frame), cmp.AllowUnexported(outcome{})); diff != "" {
		b.t.Errorf("by the short way (-long +short):\n%s", diff)
	}
}

func (b *bench) sendShort(frame []byte) outcome {
	b.t.Helper()
	if err := b.maps.Programs.Delete(programAny); err != nil {
		b.t.Fatal(err)
	}
	defer func() {
		if err := b.maps.Programs.Put(programAny, b.longWay); err != nil {
			b.t.Fatal(err)
		}
	}()
	return b.sendFrame(frame)
}

// What is not plain takes the long way, though its connection is there.
func TestNotPlainPackets(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.apply("-A -t "+vip6.String()+" -s rr", "-a -t "+vip6.String()+" -r "+server6.String()+" -g")
	b.send(clientMAC, tcp(client, vip, "S"))
	b.send(clientMAC, tcp(client6, vip6, "S"))
	usual := tcp(client, vip, "A")
	last := slices.Clone(usual)
	last[8] = 1
	for name, ip := range map[string][]byte{
		"options":      withOptions(usual, 4, 0),
		"last hop":     last,
		"first":        tcp(client, vip, "S"),
		"end":          tcp(client, vip, "FA"),
		"no such flow": tcp(clientPort(7), vip, "A"),
		"extension":    extended(tcp(client6, vip6, "A"), 60),
	} {
		if o := b.sendShort(frame(clientMAC, ip)); o.verdict != "no-program" || o.action != xdpDrop {
			t.Errorf("%s: %s, action %d; want no-program and a drop, as there is no long way", name, o.verdict, o.action)
		}
	}
}
