// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

// What becomes of a packet behind tc (linux/pkt_cls.h).
const (
	tcNext     = 1<<32 - 1
	tcRedirect = 7
)

var ownMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// seeOwn has the datapath see what the director itself sends.
func (b *bench) seeOwn() {
	b.t.Helper()
	const own = 2 // which nobody sends by
	at := &b.settings.Interfaces[own]
	at.Ifindex, at.Mtu = own, 65535
	copy(at.Mac[:], ownMAC)
	b.settings.LocalIfindex = own
}

// sendOut has the director itself send a packet.
func (b *bench) sendOut(ip []byte) (action uint32, sent []byte) {
	b.t.Helper()
	testenv.Need(b.t, testenv.TCX)
	run := &ebpf.RunOptions{Data: frame(clientMAC, ip), DataOut: make([]byte, len(ip)+256)}
	action, err := b.local.out.Run(run)
	if err != nil {
		b.t.Fatal(err)
	}
	if action == tcRedirect && !bytes.Equal(run.DataOut[:6], ownMAC) {
		b.t.Errorf("redirected to %x, want %s", run.DataOut[:6], ownMAC)
	}
	return action, run.DataOut[14:]
}

// refusal is what Linux answers to a SYN to a port where nobody listens
// (net/ipv4/tcp_ipv4.c: tcp_v4_send_reset()).
func refusal(syn []byte) []byte {
	src, dst := endpoints(syn)
	_, _, _, asked := transportOf(syn)
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment[0:], dst.Port())
	binary.BigEndian.PutUint16(segment[2:], src.Port())
	binary.BigEndian.PutUint32(segment[8:], binary.BigEndian.Uint32(asked[4:])+1)
	segment[12], segment[13] = 5<<4, 0x14
	binary.BigEndian.PutUint16(segment[16:], transportChecksum(dst.Addr(), src.Addr(), 6, segment))
	packet := ip(dst.Addr(), src.Addr(), 6, segment)
	if src.Addr().Is6() {
		return packet
	}
	return with(packet, func(ip []byte) { ip[4], ip[5] = 0, 0 })
}

// refuseAsServer answers a SYN that the director got as a real server, and says
// what is wrong with how the answer leaves.
func (p *player) refuseAsServer(syn []byte) string {
	client, at := endpoints(syn)
	answer := refusal(syn)
	action, sent := p.sendOut(answer)
	src, dst := endpoints(sent)
	if action != tcNext || dst != client || broken(sent) != "" {
		return fmt.Sprintf("%s answers %s from %s to %s (%d): %s", at, client, src, dst, action, broken(sent))
	}
	return ""
}

// A client on the director may have the VIP's address.
func TestLocalClient(t *testing.T) {
	for _, test := range []struct {
		name, service, server string
		vip, client           netip.AddrPort
	}{
		{"IPv4", "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:8080 -m", vip, netip.MustParseAddrPort("10.0.0.80:40000")},
		{"IPv6", "-A -t [2001:db8:80::80]:80 -s rr", "-a -t [2001:db8:80::80]:80 -r [2001:db8:1::11]:8080 -m",
			netip.MustParseAddrPort("[2001:db8:80::80]:80"), netip.MustParseAddrPort("[2001:db8:80::80]:40000")},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, test.service, test.server)
			b.seeOwn()
			b.resolve()
			syn := tcp(test.client, test.vip, "S")
			if action, _ := b.sendOut(syn); action != tcRedirect {
				t.Fatalf("the client's SYN: action %d, want it redirected", action)
			}
			for _, other := range []netip.AddrPort{netip.AddrPortFrom(test.vip.Addr(), 81), netip.AddrPortFrom(test.client.Addr().Next(), 80)} {
				packet := tcp(test.client, other, "S")
				if action, sent := b.sendOut(packet); action != tcNext || !bytes.Equal(sent, packet) {
					t.Errorf("to %s: action %d, want it left alone", other, action)
				}
			}
			if o := b.send(clientMAC, syn); o.verdict != "martian" {
				t.Errorf("from outside: verdict %s, want martian", o.verdict)
			}
			b.settings.LocalIfindex = loopback // which packets in tests come by
			if o := b.send(clientMAC, syn); o.verdict != "masq-in" || broken(o.ip) != "" {
				t.Errorf("by the director's own interface: verdict %s %s", o.verdict, broken(o.ip))
			}
		})
	}
}

// What a real server on the director answers comes from the VIP, and moves its
// connection on.
func TestLocalServer(t *testing.T) {
	for _, test := range []struct {
		name, method string
		rip          netip.AddrPort
	}{
		{"NAT", "-m", netip.AddrPortFrom(directorAddress, 8080)},
		{"NAT, the same port", "-m", netip.AddrPortFrom(directorAddress, 80)},
		{"DR", "-g", netip.AddrPortFrom(directorAddress, 80)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "-A -t 10.0.0.80:80 -s rr", fmt.Sprint("-a -t 10.0.0.80:80 -r ", test.rip, " ", test.method))
			b.seeOwn()
			b.resolve()
			listens := test.rip
			if test.method != "-m" {
				listens = vip
			}
			for i, step := range []struct{ flags, state string }{
				{">S", "SYN_RECV"}, {"<SA", "SYN_RECV"}, {">A", "ESTABLISHED"}, {"<PA", "ESTABLISHED"}, {"<FA", "FIN_WAIT"}, {">FA", "TIME_WAIT"},
			} {
				flags := step.flags[1:]
				if step.flags[0] == '>' {
					o := b.send(clientMAC, tcp(client, vip, flags))
					if _, dst := endpoints(o.ip); o.verdict != "local" || o.action != xdpPass || dst != listens || broken(o.ip) != "" {
						t.Fatalf("step %d: verdict %s, to %s, want %s: %s", i, o.verdict, dst, listens, broken(o.ip))
					}
				} else {
					action, sent := b.sendOut(tcp(listens, client, flags))
					if src, dst := endpoints(sent); action != tcNext || src != vip || dst != client || broken(sent) != "" {
						t.Fatalf("step %d: %s to %s (%d): %s", i, src, dst, action, broken(sent))
					}
				}
				if !slices.Contains(connStates(t, b), step.state) {
					t.Errorf("step %d, %s: state %v, want %s", i, step.flags, connStates(t, b), step.state)
				}
			}
			status := b.Dataplane.Services()[0].Stats
			if status.Conns != 1 || status.InPkts != 3 || status.OutPkts != 3 {
				t.Errorf("counted %+v, want 1 connection, 3 packets in and 3 out", status)
			}
		})
	}
}

// localDatagrams is a UDP service of a real server on the director, by NAT on
// another port, and a connection to it.
func localDatagrams(t *testing.T, family int) (b *bench, service, server, from netip.AddrPort) {
	t.Helper()
	service, server, from = vip, netip.AddrPortFrom(directorAddress, 8080), client
	if family == 6 {
		service, server, from = vip6, netip.AddrPortFrom(directorAddress6, 8080), client6
	}
	b = newBench(t, fmt.Sprintf("-A -u %s -s rr", service), fmt.Sprintf("-a -u %s -r %s -m", service, server))
	b.seeOwn()
	b.resolve()
	if o := b.send(clientMAC, udp(from, service)); o.verdict != "local" {
		t.Fatalf("the request: %s", o.verdict)
	}
	return b, service, server, from
}

// The stack has cut a large answer into fragments where it leaves. All come from the
// VIP then, but those of others are left alone.
func TestLocalServerInFragments(t *testing.T) {
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprint(family), func(t *testing.T) {
			b, service, server, from := localDatagrams(t, family)
			answer, other := udp(server, from, make([]byte, 100)...), udp(server, netip.AddrPortFrom(from.Addr(), 9), make([]byte, 100)...)
			for i, piece := range inFragments(other, 8, 40) {
				if action, sent := b.sendOut(piece); action != tcNext || !bytes.Equal(sent, piece) {
					t.Errorf("another's fragment %d: action %d, %x", i, action, sent)
				}
			}
			var sent [][]byte
			for i, piece := range inFragments(answer, 7, 40, 80) {
				action, left := b.sendOut(piece)
				if action != tcNext {
					t.Errorf("fragment %d: action %d", i, action)
				}
				sent = append(sent, left)
			}
			got := whole(sent)
			if src, dst := endpoints(got); src != service || dst != from || broken(got) != "" {
				t.Errorf("from %s to %s: %s", src, dst, broken(got))
			}
			if stats := b.Dataplane.Services()[0].Stats; stats.OutPkts != 1 || stats.OutBytes < uint64(len(answer)) {
				t.Errorf("counted %+v, want one packet of %d bytes and headers out", stats, len(answer))
			}
		})
	}
}

// That nobody listens is told by the VIP, about what was sent to the VIP. The
// datapath does that as with any real server's errors, but that no hop lies between.
func TestErrorOfLocalServer(t *testing.T) {
	for family, kinds := range map[int]struct{ unreachable, port, echoReply byte }{4: {3, 3, 0}, 6: {1, 4, 129}} {
		t.Run(fmt.Sprint(family), func(t *testing.T) {
			b, service, server, from := localDatagrams(t, family)
			request, translated := udp(from, service), udp(from, server)
			refusal := icmpError(server.Addr(), from.Addr(), kinds.unreachable, kinds.port, 0, translated)
			if action, _ := b.sendOut(refusal); action != tcRedirect {
				t.Fatalf("action %d, want it redirected", action)
			}
			echo := icmpError(server.Addr(), from.Addr(), kinds.echoReply, 0, 0, translated)
			if action, sent := b.sendOut(echo); action != tcNext || !bytes.Equal(sent, echo) {
				t.Errorf("an echo reply: action %d, want it left alone", action)
			}
			b.settings.LocalIfindex = loopback // which packets in tests come by
			o := b.send(clientMAC, refusal)
			copy(request[len(request)-2:], translated[len(translated)-2:]) // a quoted checksum stays
			want := icmpError(service.Addr(), from.Addr(), kinds.unreachable, kinds.port, 0, request)
			if o.verdict != "error-out" || !bytes.Equal(o.ip, want) {
				t.Errorf("%s\n%x, want\n%x", o.verdict, o.ip, want)
			}
		})
	}
}

// SCTP's states follow what a real server on the director says.
func TestLocalSCTPServer(t *testing.T) {
	for _, method := range []string{"-m", "-g"} {
		listens := map[string]netip.AddrPort{"-m": netip.AddrPortFrom(directorAddress, 80), "-g": vip}[method]
		b := newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr", fmt.Sprintf("-a --sctp-service 10.0.0.80:80 -r %s:80 %s", directorAddress, method))
		b.seeOwn()
		b.resolve()
		for i, step := range []struct {
			reply  bool
			chunks []byte
			state  string
		}{
			{false, []byte{chunkInit}, "INIT1"}, {true, []byte{chunkInitAck}, "C-SENT"},
			{false, []byte{chunkCookieEcho}, "C-REPLIED"}, {true, []byte{chunkCookieAck}, "ESTABLISHED"},
			{true, []byte{chunkCookieAck, chunkAbort}, "CLOSED"},
		} {
			var chunks [][]byte
			for _, kind := range step.chunks {
				chunks = append(chunks, chunk(kind, 8))
			}
			if step.reply {
				b.sendOut(sctp(listens, client, chunks...))
			} else {
				b.send(clientMAC, sctp(client, vip, chunks...))
			}
			if got := connStates(t, b); !slices.Equal(got, []string{step.state}) {
				t.Errorf("%s, step %d: state %v, want %s", method, i, got, step.state)
			}
		}
	}
}

// What a real server on the director still says of an earlier connection is not
// about one that goes elsewhere.
func TestLateReplyOfLocal(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s fo", fmt.Sprintf("-a -t 10.0.0.80:80 -r %s:80 -g -w 1", directorAddress))
	b.seeOwn()
	b.resolve()
	b.send(clientMAC, tcp(client, vip, "S"))
	b.send(clientMAC, tcp(client, vip, "R"))
	b.pass(time.Minute)
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g -w 9")
	b.send(clientMAC, tcp(client, vip, "S"))
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != "route" || o.state != "ESTABLISHED" {
		t.Fatalf("the second connection: %s, %s", o.verdict, o.state)
	}
	before := b.Dataplane.Services()[0].Stats
	late := tcp(vip, client, "RA")
	if action, sent := b.sendOut(late); action != tcNext || !bytes.Equal(sent, late) {
		t.Errorf("action %d, %x", action, sent)
	}
	if got := connStates(t, b); !slices.Equal(got, []string{"ESTABLISHED"}) || b.Dataplane.Services()[0].Stats != before {
		t.Errorf("state %v, counted %+v, want %+v", got, b.Dataplane.Services()[0].Stats, before)
	}
}

// Nobody outside reaches a real server that is 127.0.0.1.
func TestLoopbackServer(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 127.0.0.1:80 -m")
	b.seeOwn()
	b.resolve()
	if o := b.send(clientMAC, tcp(client, vip, "S")); o.verdict != "loopback" || o.action != xdpDrop {
		t.Errorf("from outside: verdict %s, want loopback", o.verdict)
	}
	b.settings.LocalIfindex = loopback
	if o := b.send(clientMAC, tcp(client, vip, "S")); o.verdict != "local" {
		t.Errorf("from the director: verdict %s, want local", o.verdict)
	}
}

func connStates(t *testing.T, b *bench) (states []string) {
	t.Helper()
	if err := b.Conns(func(c ipvs.Conn) error {
		states = append(states, c.State)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return states
}
