// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// numbered gives a TCP packet its place in both streams.
func numbered(ip []byte, seq, ack uint32) []byte {
	ip = slices.Clone(ip)
	src, dst, _, l4 := transportOf(ip)
	binary.BigEndian.PutUint32(l4[4:], seq)
	binary.BigEndian.PutUint32(l4[8:], ack)
	l4[16], l4[17] = 0, 0
	binary.BigEndian.PutUint16(l4[16:], transportChecksum(src, dst, 6, l4))
	return ip
}

// told is what became of a packet, in words: where it went, and of TCP what it
// says. The TUN real server takes the tunnel apart.
func told(o outcome) string {
	if o.mac == nil {
		return o.verdict
	}
	ip := o.ip
	if wrong := broken(ip); wrong != "" {
		return "wrong " + wrong
	}
	_, _, proto, l4 := transportOf(ip)
	if proto == 4 || proto == 41 {
		ip = l4
		_, _, proto, l4 = transportOf(ip)
	}
	src, dst := endpoints(ip)
	to := map[string]string{clientMAC.String(): "client", serverMAC(11).String(): "server", serverMAC(12).String(): "server 12"}[o.mac.String()]
	if proto != 6 {
		return fmt.Sprintf("%s: %s protocol %d", o.verdict, to, proto)
	}
	var flags strings.Builder
	for i, letter := range "FSRPA" {
		if l4[13]>>i&1 != 0 {
			flags.WriteRune(letter)
		}
	}
	return fmt.Sprintf("%s: %s %s > %s %s seq %d ack %d, %d bytes", o.verdict, to, src, dst, &flags,
		binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:]), len(l4)-20)
}

// A killed connection's packets become RSTs in turn, each with the numbers that
// its receiver waits for.
func TestKilled(t *testing.T) {
	request := func(flags string, payload ...byte) []byte {
		return numbered(tcp(client, vip, flags, payload...), 5000, 7000)
	}
	reply := numbered(tcp(server11, client, "PA", 'x'), 7000, 5000)
	for method, words := range map[string][2]string{"-m": {"masq-in", "192.168.1.11:80"}, "-g": {"route", "10.0.0.80:80"}, "-i": {"tunnel", "10.0.0.80:80"}} {
		for _, handsOver := range []bool{false, true} {
			t.Run(fmt.Sprint(method, handsOver), func(t *testing.T) {
				b := established(t, method)
				if handsOver {
					b.handOver()
				}
				if killed := b.Kill(ipvs.ConnFilter{}, false); killed != (ipvs.Killed{Reset: 1}) {
					t.Fatalf("killed %+v", killed)
				}
				onward := words[0] + ": server 172.16.0.5:40000 > " + words[1]
				back := "reset: client 10.0.0.80:80 > 172.16.0.5:40000 R seq 7000 ack 0, 0 bytes"
				for _, step := range []struct {
					name string
					ip   []byte
					want string
				}{
					{"data", request("PA", 'l', 'o', 's', 't'), onward + " RA seq 5000 ack 7000, 0 bytes"},
					{"data again", request("PA", 'l', 'o', 's', 't'), back},
					{"at its last hop", with(request("A"), func(ip []byte) { ip[8] = 1 }), back},
					{"an ACK", request("A"), onward + " RA seq 5000 ack 7000, 0 bytes"},
					{"a FIN", request("FA"), back},
					{"neither ACK nor RST", request("F", 'x'), onward + " R seq 5000 ack 7000, 0 bytes"},
					{"the same again", request("F", 'x'), "reset: client 10.0.0.80:80 > 172.16.0.5:40000 RA seq 0 ack 5002, 0 bytes"},
					{"a RST", request("R"), onward + " R seq 5000 ack 7000, 0 bytes"},
				} {
					if got := told(b.send(clientMAC, step.ip)); got != step.want {
						t.Errorf("%s:\n%s, want\n%s", step.name, got, step.want)
					}
				}
				if method == "-m" {
					b.checkKilledReplies(reply)
				}
				b.checkLoads()
				if got := told(b.send(clientMAC, request("S"))); got != onward+" S seq 5000 ack 7000, 0 bytes" {
					t.Errorf("SYN: %s", got)
				}
				if conns := b.conns(); len(conns) != 1 || conns[0].State != "SYN_RECV" {
					t.Errorf("after the SYN: %+v", conns)
				}
				b.checkLoads()
			})
		}
	}
}

func (b *bench) checkKilledReplies(reply []byte) {
	b.t.Helper()
	if got, want := told(b.send(serverMAC(11), reply)), "reset: server 172.16.0.5:40000 > 192.168.1.11:80 R seq 5000 ack 0, 0 bytes"; got != want {
		b.t.Errorf("reply:\n%s, want\n%s", got, want)
	}
	rst := numbered(tcp(server11, client, "R"), 7000, 0)
	if got, want := told(b.send(serverMAC(11), rst)), "masq-out: client 10.0.0.80:80 > 172.16.0.5:40000 R seq 7000 ack 0, 0 bytes"; got != want {
		b.t.Errorf("RST of the server:\n%s, want\n%s", got, want)
	}
}

// A RST is cut from packets with options of any length, too, and one that is
// sent back is the kernel's (recorded of a packet without connection).
func TestResetBytes(t *testing.T) {
	b := established(t, "-g")
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80", "-A -u 10.0.0.80:80 -s rr")
	b.apply("-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.mustSetService("-t", "10.0.0.80:80", ipvs.ServiceSettings{Removed: ipvs.Reset})
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
	b.SetNextHop(server11.Addr(), NextHop{}) // nobody there: the client hears first
	in := unhex(t, "4500002c1234400040067233ac1000050a0000509c400050000003ed000013895018ffff657900006c6f7374")
	want := "45000028000040004006846b0a000050ac10000500509c4000001389000000005004000049620000"
	if got := hex.EncodeToString(b.send(clientMAC, in).ip); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	b.resolve()
	for _, options := range []struct{ ip, tcp int }{{0, 4}, {0, 40}, {4, 0}, {40, 40}} {
		b.Kill(ipvs.ConnFilter{}, false)
		for range 2 {
			o := b.send(clientMAC, withOptions(numbered(tcp(client, vip, "PA", 1, 2, 3), 9, 8), options.ip, options.tcp))
			if wrong := broken(o.ip); wrong != "" || o.mac == nil {
				t.Errorf("%+v: %s, wrong %s in %x", options, o.verdict, wrong, o.ip)
			}
		}
	}
}

// withOptions puts options that do nothing into both headers.
func withOptions(ip []byte, inIP, inTCP int) []byte {
	segment := slices.Insert(slices.Clone(ip[20:]), 20, slices.Repeat([]byte{1}, inTCP)...)
	segment[12] = byte(20+inTCP) / 4 << 4
	segment[16], segment[17] = 0, 0
	src, dst := endpoints(ip)
	binary.BigEndian.PutUint16(segment[16:], transportChecksum(src.Addr(), dst.Addr(), 6, segment))
	whole := slices.Concat(ip[:20], slices.Repeat([]byte{1}, inIP), segment)
	return with(whole, func(ip []byte) {
		ip[0] = 0x40 | byte(20+inIP)/4
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	})
}

// What becomes of connections whose real server is removed, as its service has
// it; and the director does not wait for their packets.
func TestRemoved(t *testing.T) {
	const onward = "route: server 172.16.0.5:40000 > 10.0.0.80:80 RA seq 1 ack 2, 0 bytes"
	for _, test := range []struct {
		removed ipvs.Removal
		udp     bool
		flags   string
		first   string // before the director looked at the table
		later   string // after it did
	}{
		{removed: ipvs.Silent, flags: "PA", first: "destination-gone", later: "destination-gone"},
		{removed: ipvs.Silent, flags: "S", first: "destination-gone", later: "destination-gone"},
		{removed: ipvs.Silent, udp: true, first: "destination-gone", later: "destination-gone"},
		{removed: ipvs.Reset, flags: "PA", first: onward, later: onward},
		{removed: ipvs.Reset, flags: "S", first: "route: server 12", later: "route: server 12"},
		{removed: ipvs.Reset, udp: true, first: "reset: client", later: "route: server 12"},
		{removed: ipvs.Move, flags: "PA", first: onward, later: onward},
		{removed: ipvs.Move, flags: "S", first: "route: server 12", later: "route: server 12"},
		{removed: ipvs.Move, udp: true, first: "route: server 12", later: "route: server 12"},
	} {
		for when, want := range map[string]string{"first": test.first, "later": test.later} {
			t.Run(fmt.Sprint(test.removed, test.udp, test.flags, when), func(t *testing.T) {
				b := established(t, "-g")
				option, ip := "-t", numbered(tcp(client, vip, test.flags), 1, 2)
				if test.udp {
					option, ip = "-u", udp(client, vip, 'x')
					b.apply("-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:80 -g")
					b.send(clientMAC, ip)
				}
				b.mustSetService(option, "10.0.0.80:80", ipvs.ServiceSettings{Removed: test.removed})
				b.apply("-a "+option+" 10.0.0.80:80 -r 192.168.1.12:80 -g", "-d "+option+" 10.0.0.80:80 -r 192.168.1.11:80")
				if when == "later" {
					b.Age()
				}
				if got := told(b.send(clientMAC, ip)); !strings.HasPrefix(got, want) {
					t.Errorf("%s, want %s", got, want)
				}
				b.checkLoads()
			})
		}
	}
}

// The deletion of a service removes its real servers; adding it again later
// brings no killed connection back to life.
func TestRemovedService(t *testing.T) {
	b := established(t, "-m")
	b.mustSetService("-t", "10.0.0.80:80", ipvs.ServiceSettings{Removed: ipvs.Reset})
	b.apply("-D -t 10.0.0.80:80")
	b.Age()
	b.apply("-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	if conns := b.conns(); len(conns) != 1 || conns[0].State != "KILLED" {
		t.Fatalf("connections %+v", conns)
	}
	for _, want := range []string{"masq-in", "reset"} {
		if o := b.send(clientMAC, numbered(tcp(client, vip, "A"), 1, 2)); o.verdict != want {
			t.Errorf("verdict %s, want %s", o.verdict, want)
		}
	}
	b.pass(10*time.Second + time.Second/8)
	if conns := b.conns(); len(conns) != 0 {
		t.Errorf("after ten seconds: %+v", conns)
	}
}

// A packet may find its connection just before a user kills that, and be counted after: both ends
// are told all the same.
func TestKilledWhileCounted(t *testing.T) {
	b := established(t, "-g")
	var conn *directorConn
	for e := range b.live() {
		conn = e.conn
	}
	conn.Flags &^= directorConnFlagsCONN_PACKETS // none so far
	b.Kill(ipvs.ConnFilter{}, false)
	if conn.Flags < directorConnFlagsCONN_PACKETS { // bpf/conn.h: count_request()
		conn.Flags += 1 << packetsShift
	}
	for _, want := range []string{"route", "reset"} {
		if o := b.send(clientMAC, tcp(client, vip, "A")); o.verdict != want {
			t.Errorf("%s, want %s", o.verdict, want)
		}
	}
}

// A filter chooses; datagrams are forgotten, and counting changes nothing.
func TestKill(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g",
		"-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.12:80 -g")
	for n := range 4 {
		b.send(clientMAC, tcp(clientNumber(n), vip, "S"))
		b.send(clientMAC, udp(clientNumber(n), vip, 'x'))
	}
	one := ipvs.ConnFilter{Client: endpointOf(t, clientNumber(2).String())}
	server := ipvs.ConnFilter{Server: endpointOf(t, "192.168.1.12")}
	for _, step := range []struct {
		filter    ipvs.ConnFilter
		countOnly bool
		want      ipvs.Killed
		left      int
	}{
		{one, true, ipvs.Killed{Reset: 1, Forgotten: 1}, 8},
		{one, false, ipvs.Killed{Reset: 1, Forgotten: 1}, 6},
		{one, false, ipvs.Killed{}, 6},
		{server, false, ipvs.Killed{Forgotten: 3}, 3},
		{ipvs.ConnFilter{State: "SYN_RECV"}, false, ipvs.Killed{Reset: 3}, 0},
		{ipvs.ConnFilter{}, false, ipvs.Killed{}, 0},
	} {
		if got := b.Kill(step.filter, step.countOnly); got != step.want {
			t.Errorf("%+v: killed %+v, want %+v", step.filter, got, step.want)
		}
		left := slices.DeleteFunc(b.conns(), func(c ipvs.Conn) bool { return c.State == "KILLED" })
		if len(left) != step.left {
			t.Errorf("%+v: %d connections are left, want %d", step.filter, len(left), step.left)
		}
		b.ageAll()
		b.checkLoads()
	}
}

func endpointOf(t *testing.T, text string) ipvs.Endpoint {
	t.Helper()
	e, err := ipvs.ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The ends are probed at once and more and more seldom, until the client was told.
func TestProbes(t *testing.T) {
	toClient, toServer := Probe{vip, client}, Probe{client, server11}
	for method, round := range map[string][]Probe{"-m": {toClient, toClient, toServer}, "-g": {toClient, toClient}, "-i": {toClient, toClient}} {
		b := established(t, method)
		b.Kill(ipvs.ConnFilter{}, false)
		var rounds []int
		for n := range 12 {
			if got := b.Probes(); len(got) > 0 {
				rounds = append(rounds, n)
				if diff := cmp.Diff(round, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
					t.Errorf("%s (-want +got):\n%s", method, diff)
				}
			}
		}
		if got := fmt.Sprint(rounds); got != "[0 1 2 4 8]" {
			t.Errorf("%s: probed in rounds %s", method, got)
		}
		b.shakeHandsAnew(method)
		b.Kill(ipvs.ConnFilter{}, false)
		if got := len(b.Probes()); got != len(round) {
			t.Errorf("%s: %d probes", method, got)
		}
		for range 2 {
			b.send(clientMAC, numbered(tcp(client, vip, "A"), 1, 2))
		}
		if got := b.Probes(); len(got) != 0 || len(b.killed) != 0 {
			t.Errorf("%s: probed after all was said: %v", method, got)
		}
	}
}

func (b *bench) shakeHandsAnew(method string) {
	b.t.Helper()
	b.clearConns()
	clear(b.loads.at)
	b.shakeHands(method)
}

// IPv6 is cut and turned like IPv4.
func TestKilledIPv6(t *testing.T) {
	client6, vip6 := netip.MustParseAddrPort("[2001:db8:c::5]:40000"), netip.MustParseAddrPort("[2001:db8::80]:80")
	request := func(flags string, payload ...byte) []byte {
		return numbered(tcp(client6, vip6, flags, payload...), 5000, 7000)
	}
	for method, onward := range map[string]string{"-m": "masq-in: server [2001:db8:c::5]:40000 > [2001:db8:1::11]:80", "-g": "route: server [2001:db8:c::5]:40000 > [2001:db8::80]:80"} {
		for _, handsOver := range []bool{false, true} {
			b := newBench(t, "-A -t [2001:db8::80]:80 -s rr", "-a -t [2001:db8::80]:80 -r [2001:db8:1::11]:80 "+method)
			if handsOver {
				b.handOver()
			}
			b.send(clientMAC, request("S"))
			b.send(clientMAC, request("A"))
			b.Kill(ipvs.ConnFilter{}, false)
			if got, want := told(b.send(clientMAC, request("PA", 'l', 'o', 's', 't'))), onward+" RA seq 5000 ack 7000, 0 bytes"; got != want {
				t.Errorf("%s, %t:\n%s, want\n%s", method, handsOver, got, want)
			}
			if got, want := told(b.send(clientMAC, request("PA", 'x'))), "reset: client [2001:db8::80]:80 > [2001:db8:c::5]:40000 R seq 7000 ack 0, 0 bytes"; got != want {
				t.Errorf("%s, %t:\n%s, want\n%s", method, handsOver, got, want)
			}
		}
	}
}
