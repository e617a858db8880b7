// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// setLength says of an IP packet that it ends after so many bytes; what follows
// is padding.
func setLength(ip []byte, length int) []byte {
	return with(ip, func(ip []byte) { binary.BigEndian.PutUint16(ip[2:], uint16(length)) })
}

// What stands behind the IP packet's end is no part of a quote.
func TestQuoteEndsWithThePacket(t *testing.T) {
	for method, quoted := range map[string][]byte{
		"-m": tcp(vip, client, "A"),
		"-i": ipv4(directorAddress, server11.Addr(), 4, tcp(client, vip, "A")),
	} {
		t.Run(method, func(t *testing.T) {
			b := established(t, method)
			from, to := client.Addr(), vip.Addr()
			if method == "-i" {
				from, to = server11.Addr(), directorAddress
			}
			whole := icmpError(from, to, 3, 1, 0, quoted)
			if o := b.send(clientMAC, whole); o.mac == nil {
				t.Fatalf("the whole error: %s", o.verdict)
			}
			for length := 28; length < len(whole); length++ {
				cut := setLength(whole, length)
				cut[22], cut[23] = 0, 0
				binary.BigEndian.PutUint16(cut[22:], checksum(cut[20:length]))
				o := b.send(clientMAC, cut)
				if room := 28 + len(quoted) - 16; length < room && (o.action != xdpPass || !bytes.Equal(o.ip, cut)) {
					t.Errorf("%d bytes of IP and the rest padding: %s, %x", length, o.verdict, o.ip)
				}
			}
		})
	}
}

// No router or host has such an address.
func TestErrorsFromMartians(t *testing.T) {
	b := established(t, "-m")
	for _, from := range []string{"127.0.0.1", "0.1.2.3", "224.0.0.1", "255.255.255.255", "10.0.0.80"} {
		e := icmpError(netip.MustParseAddr(from), vip.Addr(), 3, 4, 1400, tcp(vip, client, "A"))
		if o := b.send(clientMAC, e); o.verdict != "martian" || !bytes.Equal(o.ip, e) {
			t.Errorf("from %s: %s", from, o.verdict)
		}
	}
}

// An error that NAT would have to change must be intact, or nobody could tell
// any more that it was not.
func TestBrokenErrors(t *testing.T) {
	b := established(t, "-m")
	for _, e := range [][]byte{
		icmpError(client.Addr(), vip.Addr(), 3, 4, 1400, tcp(vip, client, "A")),
		icmpError(server11.Addr(), client.Addr(), 3, 3, 0, tcp(client, server11, "A")),
	} {
		if o := b.send(clientMAC, e); o.mac == nil || broken(o.ip) != "" {
			t.Errorf("an intact one: %s %s", o.verdict, broken(o.ip))
		}
		last := bytes.Clone(e)
		last[len(last)-1] ^= 1
		if o := b.send(clientMAC, last); o.verdict != "bad-checksum" || o.action != xdpDrop {
			t.Errorf("a broken one: %s", o.verdict)
		}
	}
}

// A tunnel's path tells what it can carry; a forger can push it down to
// min_pmtu at most, and the director's next look restores it.
func TestTunnelLearnsMTU(t *testing.T) {
	b := established(t, "-i")
	quoted := ipv4(directorAddress, server11.Addr(), 4, tcp(client, vip, "A", make([]byte, 100)...))
	tooBig := func(mtu uint16) outcome {
		return b.send(clientMAC, icmpError(netip.MustParseAddr("192.168.1.254"), directorAddress, 3, 4, mtu, quoted))
	}
	if o := tooBig(1400); o.verdict != "error-out" || broken(o.ip) != "" {
		t.Fatalf("%s %s", o.verdict, broken(o.ip))
	}
	payload := make([]byte, 1360)
	if o := b.send(clientMAC, tcp(client, vip, "A", payload...)); o.verdict != "too-big" {
		t.Errorf("1400 and a tunnel header: %s", o.verdict)
	} else if mtu := binary.BigEndian.Uint16(o.ip[26:]); mtu != 1380 {
		t.Errorf("the client hears of %d, want 1380", mtu)
	}
	tooBig(68)
	if o := b.send(clientMAC, tcp(client, vip, "A", payload[:552-20-40]...)); o.verdict != "tunnel" {
		t.Errorf("552 with all headers: %s", o.verdict)
	}
	b.resolve()
	if o := b.send(clientMAC, tcp(client, vip, "A", payload...)); o.verdict != "tunnel" {
		t.Errorf("after a new look: %s", o.verdict)
	}
}

// With schedule_icmp an error about an unknown packet from the VIP begins a
// connection, which lasts for three seconds if the client sends nothing.
func TestErrorsBeginConnections(t *testing.T) {
	for kind, test := range map[string]struct {
		option, state string
		quoted, next  []byte
	}{
		"TCP":  {"-t", "NONE", tcp(vip, client, "A"), tcp(client, vip, "A")},
		"UDP":  {"-u", "UDP", udp(vip, client, 'x'), udp(client, vip, 'x')},
		"SCTP": {"--sctp-service", "NONE", sctp(vip, client, chunk(chunkData, 20)), sctp(client, vip, chunk(chunkData, 20))},
	} {
		for _, method := range []string{"-m", "-i", "-g"} {
			b := newBench(t, "-A "+test.option+" 10.0.0.80:80 -s rr", "-a "+test.option+" 10.0.0.80:80 -r 192.168.1.11:80 "+method,
				"-a "+test.option+" 10.0.0.80:80 -r 192.168.1.12:80 "+method)
			e := icmpError(client.Addr(), vip.Addr(), 3, 1, 0, test.quoted)
			if o := b.send(clientMAC, e); o.verdict != "unrelated" || len(b.conns()) != 0 {
				t.Errorf("%s %s, off: %s", kind, method, o.verdict)
			}
			b.set("schedule_icmp", "1")
			o := b.send(clientMAC, e)
			if conns := b.conns(); o.verdict != "error-in" || broken(o.ip) != "" || len(conns) != 1 || conns[0].State != test.state {
				t.Fatalf("%s %s: %s %s, %v", kind, method, o.verdict, broken(o.ip), conns)
			}
			b.pass(2 * time.Second)
			if next := b.send(clientMAC, test.next); next.mac.String() != o.mac.String() {
				t.Errorf("%s %s: the error went to %s, the client's packet to %s", kind, method, o.mac, next.mac)
			}
			other := icmpError(clientNumber(1).Addr(), vip.Addr(), 3, 1, 0, tcp(vip, clientNumber(1), "A"))
			b.send(clientMAC, other)
			b.pass(3 * time.Second)
			if conns := b.conns(); len(conns) != 1 {
				t.Errorf("%s %s: left %v", kind, method, conns)
			}
			b.ageAll()
			b.checkLoads()
		}
	}
}

// What an error quotes is no SIP message.
func TestErrorsHaveNoCall(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:5060 -s rr -p 60 --pe sip", "-a -u 10.0.0.80:5060 -r 192.168.1.11:5060 -m")
	b.set("schedule_icmp", "1")
	from := netip.AddrPortFrom(vip.Addr(), 5060)
	e := icmpError(client.Addr(), vip.Addr(), 3, 1, 0, udp(from, client, []byte("OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n")...))
	if o := b.send(clientMAC, e); o.verdict != "no-call-id" || o.action != xdpDrop {
		t.Errorf("%s", o.verdict)
	}
}
