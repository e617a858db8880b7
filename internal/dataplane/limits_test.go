// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// established is a bench with one server and one established connection to it.
func established(t *testing.T, method string) *bench {
	t.Helper()
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 "+method)
	b.shakeHands(method)
	return b
}

func (b *bench) shakeHands(method string) {
	b.t.Helper()
	b.send(clientMAC, tcp(client, vip, "S"))
	if method == "-m" {
		b.send(serverMAC(11), tcp(server11, client, "SA"))
	}
	if o := b.send(clientMAC, tcp(client, vip, "A")); o.state != "ESTABLISHED" {
		b.t.Fatalf("the connection is %s (%s)", o.state, o.verdict)
	}
}

// with returns a changed copy of an IP packet, its header's checksum set anew.
func with(ip []byte, change func(ip []byte)) []byte {
	ip = bytes.Clone(ip)
	change(ip)
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:int(ip[0]&15)*4]))
	return ip
}

func withTTL(ip []byte, ttl byte) []byte { return with(ip, func(ip []byte) { ip[8] = ttl }) }

func withoutDF(ip []byte) []byte { return with(ip, func(ip []byte) { ip[6] = 0 }) }

// What next hops and limits make of a request, for each method.
func TestLimits(t *testing.T) {
	resolved := hopTo(server11.Addr())
	unresolved := resolved
	unresolved.Neighbour = nil
	narrow := resolved
	narrow.MTU = 1400
	request := func(payload int) []byte { return tcp(client, vip, "A", make([]byte, payload)...) }
	small := request(1)
	for _, test := range []struct {
		name    string
		method  string
		hop     NextHop
		packet  []byte
		verdict string
	}{
		{"sent", "-m", resolved, small, "masq-in"},
		{"sent", "-g", resolved, small, "route"},
		{"sent", "-i", resolved, small, "tunnel"},
		{"not resolved", "-m", unresolved, small, "no-neighbour"},
		{"not resolved", "-i", unresolved, small, "no-neighbour"},
		{"never resolved", "-g", NextHop{}, small, "no-neighbour"},
		{"no route", "-m", NextHop{NoRoute: true}, small, "no-route"},
		{"no route, last hop", "-m", NextHop{NoRoute: true}, withTTL(small, 1), "no-route"},
		{"the director itself", "-m", NextHop{Local: true}, small, "local"},
		{"the director itself, last hop", "-g", NextHop{Local: true}, withTTL(small, 1), "local"},
		{"last hop", "-i", resolved, withTTL(small, 1), "ttl-exceeded"},
		{"TTL 0", "-m", resolved, withTTL(small, 0), "ttl-exceeded"},
		{"as large as fits", "-m", narrow, request(1360), "masq-in"},
		{"too large", "-m", narrow, request(1361), "too-big"},
		{"as large as fits with its tunnel header", "-i", narrow, request(1340), "tunnel"},
		{"too large with its tunnel header", "-i", narrow, request(1341), "too-big"},
		{"too large, may be fragmented", "-g", narrow, withoutDF(request(1361)), "needs-fragmenting"},
	} {
		t.Run(test.name+" "+test.method, func(t *testing.T) {
			b := established(t, test.method)
			b.SetNextHop(server11.Addr(), test.hop)
			o := b.send(clientMAC, test.packet)
			if o.verdict != test.verdict {
				t.Errorf("verdict %s, want %s", o.verdict, test.verdict)
			}
			if o.action == xdpPass && !bytes.Equal(o.ip, test.packet) {
				t.Errorf("passed on as %x, want %x", o.ip, test.packet)
			}
			if o.mac != nil && broken(o.ip) != "" {
				t.Errorf("%s is wrong in %x", broken(o.ip), o.ip)
			}
		})
	}
}

// What offload merged is above the MTU of the interface it came by.
func TestMerged(t *testing.T) {
	b := established(t, "-m")
	setMTU := func(mode Mode) {
		t.Helper()
		if err := b.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: 1500, Mode: mode}}); err != nil {
			t.Fatal(err)
		}
	}
	merged := tcp(client, vip, "A", make([]byte, 1461)...)
	setMTU(Generic)
	if o := b.send(clientMAC, merged); o.verdict != "masq-in" {
		t.Errorf("back by the same interface: %s", o.verdict)
	}
	elsewhere := hopTo(server11.Addr())
	elsewhere.Interface = 2
	b.SetNextHop(server11.Addr(), elsewhere)
	if o := b.send(clientMAC, merged); o.verdict != "merged" || o.action != xdpDrop {
		t.Errorf("by another interface: %s", o.verdict)
	}
	setMTU(Native)
	if o := b.send(clientMAC, merged); o.verdict != "too-big" {
		t.Errorf("in native mode: %s", o.verdict)
	}
}

// sendTight runs the program on a frame that has hardly any room in front of
// it, as some drivers leave.
func (b *bench) sendTight(ip []byte) outcome {
	b.t.Helper()
	const metadata = 200 // of 256 bytes that a test run has in front, less what the kernel itself needs
	data := append(make([]byte, metadata), frame(clientMAC, ip)...)
	action, err := b.program.Run(&ebpf.RunOptions{
		Data: data, DataOut: make([]byte, len(data)+256),
		Context: frameContext{Data: metadata, DataEnd: uint32(len(data))},
	})
	testenv.Need(b.t, func() error {
		if errors.Is(err, unix.EINVAL) {
			return errors.New("needs a kernel that takes more than 32 bytes of XDP metadata")
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var told directorTestCase
	if err := b.test.Get(&told); err != nil {
		b.t.Fatal(err)
	}
	return outcome{action: action, verdict: verdictNames[told.Verdict]}
}

// A driver that leaves no room for a header costs the packet: it is not sent
// without.
func TestNoRoom(t *testing.T) {
	b := established(t, "-i")
	if o := b.sendTight(tcp(client, vip, "A")); o.verdict != "no-room" || o.action != xdpDrop {
		t.Errorf("tunnel: %s, action %d", o.verdict, o.action)
	}
	quoted := icmpError(client.Addr(), vip.Addr(), 3, 4, 1400, tcp(vip, client, "A"))
	if o := b.sendTight(quoted); o.verdict != "no-room" || o.action != xdpDrop {
		t.Errorf("ICMP error: %s, action %d", o.verdict, o.action)
	}
	b.apply("-C", "-A -t 10.0.0.80:80 -s rr")
	if o := b.sendTight(tcp(clientNumber(1), vip, "S")); o.verdict != "no-room" || o.action != xdpDrop {
		t.Errorf("answer: %s, action %d", o.verdict, o.action)
	}
}
