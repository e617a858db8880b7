// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ftpTest is an FTP control connection through NAT.
type ftpTest struct {
	*bench
	client, vip, server netip.AddrPort
}

func newFTP(t *testing.T, vip, server string) *ftpTest {
	t.Helper()
	f := &ftpTest{vip: netip.MustParseAddrPort(vip), server: netip.MustParseAddrPort(server), client: clientPort(5000)}
	if f.vip.Addr().Is6() {
		f.client = netip.MustParseAddrPort("[2001:db8:c::5]:5000")
	}
	f.bench = newBench(t, "-A -t "+vip+" -s rr", fmt.Sprintf("-a -t %s -r %s -m", vip, server))
	f.connect()
	return f
}

func (f *ftpTest) connect() {
	f.t.Helper()
	f.fromClient("S")
	f.fromServer("SA")
	f.fromClient("A")
}

func (f *ftpTest) fromClient(flags string, line ...byte) outcome {
	f.t.Helper()
	return f.send(clientMAC, tcp(f.client, f.vip, flags, line...))
}

func (f *ftpTest) fromServer(flags string, line ...byte) outcome {
	f.t.Helper()
	return f.send(serverMAC(numberOf(f.server.Addr())), tcp(f.server, f.client, flags, line...))
}

// serverSays returns what the client hears, of a packet whose checksum is right.
func (f *ftpTest) serverSays(said string) string {
	f.t.Helper()
	o := f.fromServer("PA", []byte(said)...)
	if wrong := broken(o.ip); o.verdict != "masq-out" || wrong != "" {
		f.t.Errorf("%q: %s %s", said, o.verdict, wrong)
	}
	_, _, _, l4 := transportOf(o.ip)
	return string(l4[20:])
}

func (f *ftpTest) clientSays(said string) string {
	f.t.Helper()
	o := f.fromClient("PA", []byte(said)...)
	if wrong := broken(o.ip); o.verdict != "masq-in" || wrong != "" {
		f.t.Errorf("%q: %s %s", said, o.verdict, wrong)
	}
	_, _, _, l4 := transportOf(o.ip)
	return string(l4[20:])
}

// data lists the connections besides the control connection.
func (f *ftpTest) data() string {
	var lines []string
	for _, c := range f.conns() {
		if c.VIP.Port() != 21 {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", c.CIP, c.VIP, c.RIP, c.State))
		}
	}
	return strings.Join(lines, "\n")
}

// What a real server says of its address becomes the VIP's, without a byte more
// or less, and what it says of a port is expected.
func TestFTPReplies(t *testing.T) {
	long := strings.Repeat("230-Welcome to this server.\r\n", 30)
	for name, test := range map[string]struct {
		vip, said, heard string
		port             int // 0: none is expected
	}{
		"shorter":       {"10.0.0.80:21", "227 Entering Passive Mode (192,168,1,11,200,13).\r\n", "227 Entering Passive Mode    (10,0,0,80,200,13).\r\n", 51213},
		"as long":       {"10.100.0.180:21", "227 Entering Passive Mode (192,168,1,11,4,0).\r\n", "227 Entering Passive Mode (10,100,0,180,4,0).\r\n", 1024},
		"longer":        {"203.0.113.100:21", "227 Entering Passive Mode (192,168,1,11,200,13)\r\n", "227 Entering Passive Mode(203,0,113,100,200,13)\r\n", 51213},
		"already":       {"10.0.0.80:21", "227 Entering Passive Mode (10,0,0,80,200,13).\r\n", "227 Entering Passive Mode (10,0,0,80,200,13).\r\n", 51213},
		"no words":      {"10.0.0.80:21", "227 192,168,1,11,200,13\r\n", "227    10,0,0,80,200,13\r\n", 51213},
		"no parens":     {"203.0.113.100:21", "227 =192,168,1,11,200,13\r\n", "227 203,0,113,100,200,13\r\n", 51213},
		"no room":       {"203.0.113.100:21", "227 192,168,1,11,200,13\r\n", "227 192,168,1,11,200,13\r\n", 51213},
		"number before": {"10.0.0.80:21", "227 OK 4 you, (192,168,1,11,200,13)\r\n", "227 OK 4 you,    (10,0,0,80,200,13)\r\n", 51213},
		"pipelined":     {"10.0.0.80:21", "230 Hello.\r\n227 Mode (192,168,1,11,200,13)\r\n", "230 Hello.\r\n227 Mode    (10,0,0,80,200,13)\r\n", 51213},
		"odd place":     {"10.0.0.80:21", "230 Hello\r\n227 Mode (192,168,1,11,200,13)\r\n", "230 Hello\r\n227 Mode    (10,0,0,80,200,13)\r\n", 51213},
		"behind much":   {"10.0.0.80:21", long + "227 Mode (192,168,1,11,200,13)\r\n", long + "227 Mode    (10,0,0,80,200,13)\r\n", 51213},
		"more behind":   {"10.0.0.80:21", long + ".\r\n227 Mode (192,168,1,11,200,13)\r\n", long + ".\r\n227 Mode    (10,0,0,80,200,13)\r\n", 51213},
		"extended":      {"10.0.0.80:21", "229 Entering Extended Passive Mode (|||51213|)\r\n", "229 Entering Extended Passive Mode (|||51213|)\r\n", 51213},
		"other bars":    {"10.0.0.80:21", "229 Extended (!!!6446!)\r\n", "229 Extended (!!!6446!)\r\n", 6446},
		"privileged":    {"10.0.0.80:21", "227 Mode (192,168,1,11,0,22)\r\n", "227 Mode (192,168,1,11,0,22)\r\n", 0},
		"extended 22":   {"10.0.0.80:21", "229 Mode (|||22|)\r\n", "229 Mode (|||22|)\r\n", 0},
		"too large":     {"10.0.0.80:21", "229 Mode (|||65536|)\r\n", "229 Mode (|||65536|)\r\n", 0},
		"cut off":       {"10.0.0.80:21", "227 Mode (192,168,1,11,200,13", "227 Mode (192,168,1,11,200,13", 0},
		"no address":    {"10.0.0.80:21", "227 Mode (192,168,1,256,200,13)\r\n", "227 Mode (192,168,1,256,200,13)\r\n", 0},
		"not at first":  {"10.0.0.80:21", "200 227 (192,168,1,11,200,13)\r\n", "200 227 (192,168,1,11,200,13)\r\n", 0},
		"IPv6":          {"[2001:db8:a::80]:21", "229 Mode (|||51213|)\r\n", "229 Mode (|||51213|)\r\n", 51213},
	} {
		t.Run(name, func(t *testing.T) {
			server := "192.168.1.11:21"
			if name == "IPv6" {
				server = "[2001:db8:1::11]:21"
			}
			f := newFTP(t, test.vip, server)
			for range 2 { // the second time is a retransmission
				if diff := cmp.Diff(test.heard, f.serverSays(test.said)); diff != "" {
					t.Errorf("heard (-want +got):\n%s", diff)
				}
			}
			want := ""
			if test.port != 0 {
				port := uint16(test.port)
				want = fmt.Sprintf("%s %s %s LISTEN", netip.AddrPortFrom(f.client.Addr(), 0), netip.AddrPortFrom(f.vip.Addr(), port), netip.AddrPortFrom(f.server.Addr(), port))
			}
			if diff := cmp.Diff(want, f.data()); diff != "" {
				t.Errorf("expected (-want +got):\n%s", diff)
			}
			f.checkLoads()
		})
	}
}

// The tc program that sends in place of XDP makes the checksum follow.
func TestFTPHandedOver(t *testing.T) {
	for _, vip := range []string{"10.0.0.80:21", "203.0.113.100:21"} {
		f := newFTP(t, vip, "192.168.1.11:21")
		f.handOver()
		if heard := f.serverSays("230 Hi\r\n227 Entering Passive Mode (192,168,1,11,200,13).\r\n"); !strings.HasSuffix(heard, "("+strings.ReplaceAll(f.vip.Addr().String(), ".", ",")+",200,13).\r\n") {
			t.Errorf("heard %q", heard)
		}
	}
}

// A client's data connection goes to the real server that told of it, whatever
// the scheduler would choose, and lives through the states of the kernel's.
func TestFTPPassive(t *testing.T) {
	f := newFTP(t, "10.0.0.80:21", "192.168.1.11:21")
	f.apply("-a -t 10.0.0.80:21 -r 192.168.1.12:21 -m -w 100")
	f.serverSays("229 Entering Extended Passive Mode (|||51213|)\r\n")
	at := netip.AddrPortFrom(f.vip.Addr(), 51213)
	from := netip.MustParseAddrPort("192.168.1.11:51213")
	if to := f.to(tcp(clientPort(6000), addrPort(10, 0, 0, 80, 51214), "S")); to != "not-ours" {
		t.Errorf("to a port that nobody told of: %s", to)
	}
	if to := f.to(tcp(netip.MustParseAddrPort("172.16.0.6:6000"), at, "S")); to != "not-ours" {
		t.Errorf("another client: %s", to)
	}
	o := f.send(clientMAC, tcp(clientPort(6000), at, "S"))
	if _, to := endpoints(o.ip); o.verdict != "masq-in" || to != from {
		t.Fatalf("data: %s to %s", o.verdict, to)
	}
	wantData := func(state string) {
		t.Helper()
		if diff := cmp.Diff(clientPort(6000).String()+" "+at.String()+" "+from.String()+" "+state, f.data()); diff != "" {
			t.Errorf("data connection (-want +got):\n%s", diff)
		}
	}
	wantData("SYN_RECV")
	if o := f.send(serverMAC(11), tcp(from, clientPort(6000), "SA")); o.verdict != "masq-out" {
		t.Errorf("answer: %s", o.verdict)
	}
	f.send(clientMAC, tcp(clientPort(6000), at, "A"))
	wantData("ESTABLISHED")
	if to := f.to(tcp(clientPort(6001), at, "S")); to != "not-ours" {
		t.Errorf("a second one: %s", to)
	}
	if conns := f.Dataplane.Services()[0].Stats.Conns; conns != 1 {
		t.Errorf("%d connections were scheduled, want the control connection alone", conns)
	}
	f.checkLoads()
}

// A real server's data connection comes to the client from the VIP.
func TestFTPActive(t *testing.T) {
	for said, addresses := range map[string][2]string{
		"PORT 172,16,0,5,200,13\r\n":        {"10.0.0.80:21", "192.168.1.11:21"},
		"port 172,16,0,5,200,13\r\n":        {"10.0.0.80:21", "192.168.1.11:21"},
		"EPRT |1|172.16.0.5|51213|\r\n":     {"10.0.0.80:21", "192.168.1.11:21"},
		"EPRT |2|2001:db8:c::5|51213|\r\n":  {"[2001:db8:a::80]:21", "[2001:db8:1::11]:21"},
		"TYPE I\r\nPORT 1,2,3,4,200,13\r\n": {"10.0.0.80:21", "192.168.1.11:21"},
	} {
		t.Run(said, func(t *testing.T) {
			f := newFTP(t, addresses[0], addresses[1])
			client, at := netip.AddrPortFrom(f.client.Addr(), 51213), netip.AddrPortFrom(f.vip.Addr(), 20)
			server := netip.AddrPortFrom(f.server.Addr(), 20)
			if o := f.send(serverMAC(11), tcp(server, client, "S")); o.verdict != "not-ours" {
				t.Errorf("before: %s", o.verdict)
			}
			if heard := f.clientSays(said); heard != said {
				t.Errorf("the server hears %q", heard)
			}
			for _, step := range []struct{ flags, state string }{{"<S", "LISTEN"}, {">SA", "SYN_RECV"}, {"<A", "ESTABLISHED"}} {
				packet, mac := tcp(client, at, step.flags[1:]), clientMAC
				from, to := client, server
				if step.flags[0] == '<' {
					packet, mac = tcp(server, client, step.flags[1:]), serverMAC(11)
					from, to = at, client
				}
				o := f.send(mac, packet)
				if o.mac == nil || broken(o.ip) != "" {
					t.Fatalf("%s: %s %s", step.flags, o.verdict, broken(o.ip))
				}
				if a, b := endpoints(o.ip); a != from || b != to {
					t.Errorf("%s: from %s to %s, want %s to %s", step.flags, a, b, from, to)
				}
				if o.state != step.state {
					t.Errorf("%s: %s, want %s", step.flags, o.state, step.state)
				}
			}
			f.checkLoads()
		})
	}
}

// A control connection is silent while much is sent, and outlives that.
func TestFTPControlOutlivesData(t *testing.T) {
	f := newFTP(t, "10.0.0.80:21", "192.168.1.11:21")
	f.serverSays("229 Mode (|||51213|)\r\n")
	at, from := netip.AddrPortFrom(f.vip.Addr(), 51213), netip.MustParseAddrPort("192.168.1.11:51213")
	f.send(clientMAC, tcp(clientPort(6000), at, "S"))
	f.send(serverMAC(11), tcp(from, clientPort(6000), "SA"))
	for range 100 {
		f.pass(20 * time.Second)
		f.send(clientMAC, tcp(clientPort(6000), at, "A"))
		f.ageAll()
	}
	if heard := f.serverSays("226 Transfer complete.\r\n"); heard != "226 Transfer complete.\r\n" {
		t.Errorf("after half an hour the client hears %q", heard)
	}
	f.checkLoads()
}

// Only NAT needs help, and only on port 21.
func TestFTPElsewhere(t *testing.T) {
	f := newFTP(t, "10.0.0.80:2121", "192.168.1.11:21")
	if heard := f.serverSays("227 Mode (192,168,1,11,200,13)\r\n"); heard != "227 Mode (192,168,1,11,200,13)\r\n" {
		t.Errorf("of another port: %q", heard)
	}
	b := newBench(t, "-A -t 10.0.0.80:21 -s rr", "-a -t 10.0.0.80:21 -r 192.168.1.11:21 -g")
	at := addrPort(10, 0, 0, 80, 21)
	b.send(clientMAC, tcp(client, at, "S"))
	b.send(clientMAC, tcp(client, at, "A"))
	b.send(clientMAC, tcp(client, at, "PA", []byte("PORT 172,16,0,5,200,13\r\n")...))
	if conns := b.conns(); len(conns) != 1 {
		t.Errorf("connections of DR: %v", conns)
	}
}
