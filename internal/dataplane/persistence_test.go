// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// persistent are the templates as listed, one a line: client, VIP, server,
// state and seconds left.
func (b *bench) persistent() string {
	b.t.Helper()
	var lines []string
	for _, c := range b.conns() {
		if c.Template {
			lines = append(lines, fmt.Sprintf("%s %s %s %s %d", c.CIP, c.VIP, c.RIP, c.State, int(c.Expires.Round(time.Second).Seconds())))
		}
	}
	return strings.Join(lines, "\n")
}

func (b *bench) wantPersistent(when, want string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.persistent()); diff != "" {
		b.t.Errorf("%s: templates (-want +got):\n%s", when, diff)
	}
	b.checkLoads()
}

// to says by which server's MAC address a client's packet goes.
func (b *bench) to(packet []byte) string {
	b.t.Helper()
	o := b.send(clientMAC, packet)
	if o.mac == nil {
		return o.verdict
	}
	return fmt.Sprintf("%x", o.mac[5])
}

func newPersistentBench(t *testing.T, timeouts string) *bench {
	return newBench(t, "--set "+timeouts, "-A -u 10.0.0.80:53 -s rr -p 100",
		"-a -u 10.0.0.80:53 -r 192.168.1.11:53 -m", "-a -u 10.0.0.80:53 -r 192.168.1.12:53 -m")
}

func clientPort(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(client.Addr(), port)
}

// A template that is over while it controls connections lives a minute more,
// and from then on a connection gives it a minute, not what was configured.
func TestTemplateIsPostponed(t *testing.T) {
	for name, look := range map[string]func(*bench){"nobody looks": func(*bench) {}, "ageing": (*bench).ageAll} {
		t.Run(name, func(t *testing.T) {
			b := newPersistentBench(t, "0 0 170")
			b.to(udp(clientPort(1), dns, 'x'))
			b.pass(50 * time.Second)
			look(b)
			b.to(udp(clientPort(2), dns, 'x'))
			b.wantPersistent("restarted", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 NONE 100")
			b.pass(110 * time.Second)
			look(b)
			b.wantPersistent("over, with connections", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 NONE 50")
			if to := b.to(udp(clientPort(3), dns, 'x')); to != "12" {
				t.Errorf("over, with connections: a new one went to %s", to)
			}
			b.wantPersistent("restarted with a minute", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 NONE 60")
			b.pass(171 * time.Second) // over at 60 and 120 s, then without connections at 180
			look(b)
			b.wantPersistent("without connections", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 NONE 9")
			b.pass(10 * time.Second)
			look(b)
			b.wantPersistent("over", "")
			if to := b.to(udp(clientPort(4), dns, 'x')); to != "11" {
				t.Errorf("after its end: a new one went to %s", to)
			}
		})
	}
}

// However late a connection's end is noted, its template ends when it would
// have ended.
func TestTemplateEndsBeforeItIsNoted(t *testing.T) {
	b := newPersistentBench(t, "0 0 20")
	b.to(udp(clientPort(1), dns, 'x'))
	b.pass(101 * time.Second)
	b.ageAll() // meets the connection and its template in any order
	b.ageAll()
	if to := b.to(udp(clientPort(2), dns, 'x')); to != "11" {
		t.Errorf("a new connection went to %s", to)
	}
	b.checkLoads()
}

// A template is assured by what a server answers, or by an established
// connection.
func TestTemplateIsAssured(t *testing.T) {
	b := newPersistentBench(t, "0 0 0")
	b.to(udp(clientPort(1), dns, 'x'))
	b.to(udp(clientPort(1), dns, 'x'))
	b.wantPersistent("asked", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 NONE 100")
	b.send(serverMAC(12), udp(netip.MustParseAddrPort("192.168.1.12:53"), clientPort(1), 'y'))
	b.wantPersistent("answered", "172.16.0.5:0 10.0.0.80:53 192.168.1.12:53 ASSURED 100")

	b = newBench(t, "-A -t 10.0.0.80:80 -s rr -p 100", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.to(tcp(client, vip, "S"))
	b.wantPersistent("begun", "172.16.0.5:0 10.0.0.80:80 192.168.1.11:80 NONE 100")
	b.to(tcp(client, vip, "A"))
	b.wantPersistent("established", "172.16.0.5:0 10.0.0.80:80 192.168.1.11:80 ASSURED 100")
}

// A template of a removed server is moved away, as in the kernel's listing, and
// leaves with its connections.
func TestTemplateOfRemovedServer(t *testing.T) {
	b := newPersistentBench(t, "0 0 30")
	b.to(udp(clientPort(1), dns, 'x'))
	b.apply("-d -u 10.0.0.80:53 -r 192.168.1.12:53")
	if to := b.to(udp(clientPort(2), dns, 'x')); to != "11" {
		t.Errorf("without the server: a new connection went to %s", to)
	}
	templates := strings.Split(b.persistent(), "\n")
	if len(templates) != 2 || !strings.Contains(b.persistent(), "172.16.0.5:0 10.0.0.80:65535 192.168.1.12:65535 NONE 100") {
		t.Errorf("templates %q", templates)
	}
	b.reap(time.Now())
	b.reap(time.Now().Add(trashIdle))
	b.checkLoads()
	b.pass(101 * time.Second)
	b.ageAll()
	b.ageAll()
	b.wantPersistent("at the end", "")
	if got := b.loads.at; got[0].Persistent+got[1].Persistent != 0 {
		t.Errorf("servers count %+v", got[:2])
	}
}

// What follows a client to port 21 does so to the ports of FTP's data, with the
// real server's own ports, and leaves others alone.
func TestPersistentFTP(t *testing.T) {
	for method, control := range map[string]string{"-m": "192.168.1.12:2121", "-g": "10.0.0.80:21"} {
		port := map[string]string{"-m": "2121", "-g": "21"}[method]
		b := newBench(t, "-A -t 10.0.0.80:21 -s rr -p 100",
			"-a -t 10.0.0.80:21 -r 192.168.1.11:"+port+" "+method, "-a -t 10.0.0.80:21 -r 192.168.1.12:"+port+" "+method)
		ftp := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(vip.Addr(), port) }
		sent := func(what string, packet []byte, want string) {
			t.Helper()
			o := b.send(clientMAC, packet)
			if o.mac == nil || o.mac.String() != serverMAC(12).String() {
				t.Fatalf("%s %s: %s, %s", method, what, o.verdict, o.mac)
			}
			if _, to := endpoints(o.ip); to.String() != want {
				t.Errorf("%s %s: to %s, want %s", method, what, to, want)
			}
		}
		server := strings.Split(control, ":")[0]
		sent("control", tcp(clientPort(5000), ftp(21), "S"), control)
		sent("passive", tcp(clientPort(5001), ftp(30000), "S"), server+":30000")
		sent("active", tcp(clientPort(5002), ftp(20), "SA"), server+":20")
		sent("more of it", tcp(clientPort(5002), ftp(20), "A"), server+":20")
		for what, packet := range map[string][]byte{
			"another service": tcp(clientPort(5003), ftp(80), "S"),
			"UDP":             udp(clientPort(5003), ftp(30000), 'x'),
		} {
			if o := b.send(clientMAC, packet); o.verdict != "not-ours" {
				t.Errorf("%s %s: %s", method, what, o.verdict)
			}
		}
		if method == "-m" {
			o := b.send(serverMAC(12), tcp(netip.MustParseAddrPort(server+":30000"), clientPort(5001), "SA"))
			if from, _ := endpoints(o.ip); o.verdict != "masq-out" || from != ftp(30000) {
				t.Errorf("answer of the data connection: %s from %s", o.verdict, from)
			}
		}
		b.wantPersistent(method, "172.16.0.5:0 10.0.0.80:0 192.168.1.12:0 ASSURED 100")
	}
}

// Which ports FTP's data may come to is the machine's to say.
func TestFTPDataPorts(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:21 -s rr -p 100", "-a -t 10.0.0.80:21 -r 192.168.1.11:21 -g")
	t.Cleanup(func() { b.SetUnprivilegedPort(unprivilegedPort) })
	for first, want := range map[uint16]string{1024: "not-ours", 80: "route", 81: "not-ours"} {
		b.SetUnprivilegedPort(first)
		if o := b.send(clientMAC, tcp(clientPort(first), vip, "S")); o.verdict != want {
			t.Errorf("port 80, unprivileged from %d on: %s, want %s", first, o.verdict, want)
		}
	}
}

// FTP's service without a server refuses clients, but nothing that is none of
// its data connections for certain.
func TestFTPWithoutServers(t *testing.T) {
	for _, persistence := range []string{"", " -p 100"} {
		b := newBench(t, "-A -t 10.0.0.80:21 -s rr"+persistence)
		for port, want := range map[string]string{"21": "no-destination", "30000": "not-ours"} {
			if o := b.send(clientMAC, tcp(client, netip.MustParseAddrPort("10.0.0.80:"+port), "S")); o.verdict != want {
				t.Errorf("%s to port %s: %s", persistence, port, o.verdict)
			}
		}
	}
}

// A service of port 0 takes all ports, with persistence only.
func TestPortZeroNeedsPersistence(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:0 -s rr -p 100", "-a -t 10.0.0.80:0 -r 192.168.1.11:0 -g")
	if to := b.to(tcp(client, vip, "S")); to != "11" {
		t.Errorf("with persistence: %s", to)
	}
	plain := ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("10.0.0.80:0")}, Scheduler: "rr"}
	if err := b.Dataplane.Apply(ipvs.Change{Op: ipvs.EditService, Service: plain}); err != nil {
		t.Fatal(err) // ipvsadm would refuse it, the kernel does not
	}
	if o := b.send(clientMAC, tcp(clientPort(2), vip, "S")); o.verdict != "no-destination" {
		t.Errorf("without: %s", o.verdict)
	}
	b.apply("-D -t 10.0.0.80:0")
	if o := b.send(clientMAC, tcp(clientPort(3), vip, "S")); o.verdict != "not-ours" {
		t.Errorf("without a service: %s", o.verdict)
	}
}

// A client's own packets never meet its template, whatever their ports.
func TestTemplateIsNoConnection(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr -p 100", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -m")
	b.to(tcp(client, vip, "S"))
	if o := b.send(clientMAC, tcp(clientPort(0), vip, "A")); o.verdict != "no-connection" {
		t.Errorf("from port 0: %s", o.verdict)
	}
	if o := b.send(serverMAC(11), tcp(server11, clientPort(0), "A")); o.verdict == "masq-out" {
		t.Errorf("to port 0: %s", o.verdict)
	}
}

// A full table gives up a template only if it controls nothing.
func TestFullTableKeepsTemplates(t *testing.T) {
	b := newBenchOf(t, 16, "-A -t 10.0.0.80:80 -s rr -p 100",
		"-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g", "-a -t 10.0.0.80:80 -r 192.168.1.12:80 -g")
	kept := b.to(tcp(client, vip, "S"))
	b.to(tcp(client, vip, "A"))
	for n := range 300 {
		b.to(tcp(clientNumber(n), vip, "S"))
	}
	b.checkLoads()
	if to := b.to(tcp(client, vip, "A")); to != kept {
		t.Errorf("the connection goes to %s, not %s", to, kept)
	}
	if !strings.Contains(b.persistent(), "172.16.0.5:0 10.0.0.80:80 192.168.1."+kept+":80 ASSURED") {
		t.Errorf("templates:\n%s", b.persistent())
	}
}

// drop_entry takes templates that no server ever answered for, and those of the
// connections that it drops.
func TestDropEntryTakesTemplates(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr -p 100", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.to(tcp(client, vip, "S"))
	b.to(tcp(clientNumber(1), vip, "S"))
	b.to(tcp(clientNumber(1), vip, "A"))
	b.set("drop_entry", "3")
	next := uint32(0)
	b.defence.random = func(n uint32) uint32 { next++; return next % n }
	for range 2 * 32 { // a 32nd is rounded down
		b.Defend()
	}
	b.wantPersistent("after it", fmt.Sprintf("%s:0 10.0.0.80:80 192.168.1.11:80 ASSURED 100", clientNumber(1).Addr()))
}

// A director that adopts the maps knows how services persist.
func TestAdoptPersistence(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:0 -s rr -p 100 -M 255.255.255.0", "-a -t 10.0.0.80:0 -r 192.168.1.11:0 -g",
		"-A -t 10.0.0.81:80 -s rr -p 86400")
	b.to(tcp(client, vip, "S"))
	want := b.ipvsadm("-L -n --persistent-conn") + b.ipvsadm("-S -n")
	b.relearn(t)
	b.resolve()
	if diff := cmp.Diff(want, b.ipvsadm("-L -n --persistent-conn")+b.ipvsadm("-S -n")); diff != "" {
		t.Error(diff)
	}
	if to := b.to(tcp(clientPort(2), vip, "S")); to != "11" {
		t.Errorf("to a port of no service: %s", to)
	}
	b.wantPersistent("after it", "172.16.0.0:0 10.0.0.80:0 192.168.1.11:0 NONE 100")
}

// Masks are in network order, prefixes of IPv6 are numbers.
func TestPersistenceMask(t *testing.T) {
	s := ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("10.0.0.80:80")}, Netmask: 0xffffff00}
	if got := toNetmask(s); got != 0x00ffffff {
		t.Errorf("255.255.255.0 is %#x to the datapath", got)
	}
	if got := fromNetmask(s.Key, toNetmask(s)); got != s.Netmask {
		t.Errorf("and %#x back", got)
	}
	s.VIP, s.Netmask = netip.MustParseAddrPort("[2001:db8::80]:80"), 47
	if got := fromNetmask(s.Key, toNetmask(s)); got != 47 {
		t.Errorf("/47 is /%d", got)
	}
}
