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

// opening is the first packet of a client.
type opening func(from netip.AddrPort) []byte

func syn(to netip.AddrPort) opening {
	return func(from netip.AddrPort) []byte { return tcp(from, to, "S") }
}

func datagram(to netip.AddrPort, size int) opening {
	return func(from netip.AddrPort) []byte { return udp(from, to, make([]byte, size)...) }
}

// unsummed is a datagram without a checksum.
func unsummed(from netip.AddrPort) []byte {
	packet := datagram(vip, 100)(from)
	packet[26], packet[27] = 0, 0
	return packet
}

// begin sets up what the lines say, commands and settings, and sends a client's first
// packet, once another client's has left a hint where its service is. It returns what
// that left behind.
func begin(t *testing.T, lines string, packet opening, from netip.AddrPort,
	send func(b *bench, frame []byte) outcome) (left []string) {
	t.Helper()
	b := newBench(t)
	for line := range strings.SplitSeq(lines, "; ") {
		if name, value, isSetting := strings.Cut(line, "="); isSetting {
			b.set(name, value)
		} else {
			b.apply(line)
		}
	}
	other := netip.AddrPortFrom(from.Addr(), from.Port()+1)
	b.send(clientMAC, packet(other))
	b.pass(time.Second)
	left = append(left, fmt.Sprintf("%+v", send(b, frame(clientMAC, packet(from)))))
	for e, life := range b.live() {
		left = append(left, fmt.Sprintf("%d %#x %+v", e.location, life, *e.conn))
	}
	for _, s := range b.Dataplane.Services() {
		left = append(left, fmt.Sprintf("%+v", s.Stats))
		for _, d := range s.Destinations {
			left = append(left, fmt.Sprintf("%+v, %d active, %d not, %d persistent", d.Stats, d.Active, d.Inactive, d.Persistent))
		}
	}
	next := packet(netip.AddrPortFrom(from.Addr(), from.Port()+2))
	return append(left, fmt.Sprintf("the next goes to %s", b.send(clientMAC, next).mac))
}

func (b *bench) sendLong(frame []byte) outcome {
	b.t.Helper()
	usual := b.program
	defer func() { b.program = usual }()
	b.program = b.longWay
	return b.sendFrame(frame)
}

// checkBegins compares what the first packet of a connection leaves behind by a way
// with what it does by the long one.
func checkBegins(t *testing.T, lines string, packet opening, from netip.AddrPort,
	send func(b *bench, frame []byte) outcome) {
	t.Helper()
	long := begin(t, lines, packet, from, (*bench).sendLong)
	if diff := cmp.Diff(long, begin(t, lines, packet, from, send)); diff != "" {
		t.Errorf("%s: by the short way (-long +short):\n%s", lines, diff)
	}
}

// What begins a connection of a usual service does so in a program of its own, and
// leaves behind what it does by the long way.
func TestPlainPacketsBegin(t *testing.T) {
	for _, scheduler := range []string{"rr", "wrr", "wlc", "sh", "mh"} {
		for _, method := range []string{"-m", "-g", "-i"} {
			for service, packet := range map[string]opening{
				"-t 10.0.0.80:80": syn(vip), "-t [2001:db8::80]:80": syn(vip6),
				"-u 10.0.0.80:80": datagram(vip, 100), "-u [2001:db8::80]:80": datagram(vip6, 100),
			} {
				lines := []string{"-A " + service + " -s " + scheduler}
				from, servers := client, "192.168.1.%d:8080"
				if strings.Contains(service, "[") {
					from, servers = client6, "[2001:db8:1::%d]:8080"
				}
				for n := 11; n <= 13; n++ {
					lines = append(lines, "-a "+service+" -r "+fmt.Sprintf(servers, n)+" "+method+" -x 100")
				}
				checkBegins(t, strings.Join(lines, "; "), packet, from, (*bench).sendShort)
			}
		}
	}
}

// What is special is left to the long way, as if there were no other.
func TestPlainPacketsBeginBySpecialServices(t *testing.T) {
	const (
		tcpService  = "-A -t 10.0.0.80:80 -s rr; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -m; -a -t 10.0.0.80:80 -r 192.168.1.12:80 -m"
		udpService  = "-A -u 10.0.0.80:80 -s rr; -a -u 10.0.0.80:80 -r 192.168.1.11:80 -m"
		fewAtMost   = "-A -t 10.0.0.80:80 -s wrr; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -g -x 1; -a -t 10.0.0.80:80 -r 192.168.1.12:80 -g -w 5 -x 1"
		fromFTPData = 20
	)
	for name, test := range map[string]struct {
		lines  string
		packet opening
		from   netip.AddrPort
	}{
		"persistent":              {"-A -t 10.0.0.80:80 -s rr -p 60; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -g", syn(vip), client},
		"one packet":              {"-A -u 10.0.0.80:80 -s rr -o; -a -u 10.0.0.80:80 -r 192.168.1.11:80 -g", datagram(vip, 100), client},
		"every second is dropped": {"drop_packet=3; am_droprate=2; " + tcpService, syn(vip), client},
		"from FTP's data port":    {tcpService, syn(vip), netip.AddrPortFrom(client.Addr(), fromFTPData)},
		"FTP":                     {"-A -t 10.0.0.80:21 -s rr; -a -t 10.0.0.80:21 -r 192.168.1.11:21 -m", syn(netip.MustParseAddrPort("10.0.0.80:21")), client},
		"any port":                {"-A -t 10.0.0.80:0 -s rr -p 60; -a -t 10.0.0.80:0 -r 192.168.1.11 -g", syn(vip), client},
		"by dice":                 {"-A -t 10.0.0.80:80 -s twos; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -i; -a -t 10.0.0.80:80 -r 192.168.1.12:80 -i", syn(vip), client},
		"by locality":             {"-A -t 10.0.0.80:80 -s lblcr; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -g; -a -t 10.0.0.80:80 -r 192.168.1.12:80 -g", syn(vip), client},
		"nobody serves":           {"-A -t 10.0.0.80:80 -s rr; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -g -w 0", syn(vip), client},
		"all are full":            {fewAtMost, syn(vip), client},
		"the director serves":     {"-A -t 10.0.0.80:80 -s rr; -a -t 10.0.0.80:80 -r 127.0.0.1:80 -m", syn(vip), client},
		"too big":                 {udpService, datagram(vip, 1480), client},
		"no checksum":             {udpService, unsummed, client},
		"drop_entry":              {"drop_entry=3; " + tcpService, syn(vip), client},
		"secure_tcp":              {"secure_tcp=3; " + tcpService, syn(vip), client},
		"by GRE":                  {"-A -t 10.0.0.80:80 -s rr; -a -t 10.0.0.80:80 -r 192.168.1.11:80 -i --tun-type gre", syn(vip), client},
		"a second time":           {tcpService, func(from netip.AddrPort) []byte { return syn(vip)(client) }, client},
		"acknowledged":            {tcpService, func(from netip.AddrPort) []byte { return tcp(from, vip, "SA") }, client},
		"sloppy":                  {"sloppy_tcp=1; " + tcpService, func(from netip.AddrPort) []byte { return tcp(from, vip, "A") }, client},
	} {
		t.Run(name, func(t *testing.T) {
			checkBegins(t, test.lines, test.packet, test.from, (*bench).sendFrame)
		})
	}
}

// While marks are in force, none of a hint's services is meant.
func TestPlainPacketsBeginByMarks(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	b.send(clientMAC, tcp(clientNumber(1), vip, "S"))
	b.apply("-A -f 1 -s rr", "-a -f 1 -r 192.168.1.12 -g")
	b.markBy(markRule(t, "10.0.0.80 tcp 80 1"))
	if o := b.send(clientMAC, tcp(clientNumber(2), vip, "S")); o.mac.String() != serverMAC(12).String() {
		t.Errorf("%s to %s, want to the mark's server", o.verdict, o.mac)
	}
}
