// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
)

var sip = netip.MustParseAddrPort("10.0.0.80:5060")

func newSIPBench(t *testing.T) *bench {
	return newBench(t, "-A -u 10.0.0.80:5060 -s rr -p 100 --pe sip",
		"-a -u 10.0.0.80:5060 -r 192.168.1.11:5060 -m", "-a -u 10.0.0.80:5060 -r 192.168.1.12:5060 -m")
}

func invite(from netip.AddrPort, call string) []byte {
	return udp(from, sip, []byte("INVITE sip:bob@example.test SIP/2.0\r\nCall-ID: "+call+"\r\n\r\n")...)
}

// calls are the Call-IDs of templates, by client.
func (b *bench) calls() map[netip.Addr]string {
	b.t.Helper()
	calls := make(map[netip.Addr]string)
	for _, c := range b.conns() {
		if c.Template {
			calls[c.CIP.Addr()] = c.EngineData
		}
	}
	return calls
}

// Call-IDs are found where the kernel finds them, and nowhere else.
func TestCallIDs(t *testing.T) {
	text, err := os.ReadFile("testdata/sip.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Cases []struct{ Datagram, Call string }
	}
	if err := json.Unmarshal(text, &recorded); err != nil || len(recorded.Cases) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	b := newSIPBench(t)
	from := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}) }
	for n, c := range recorded.Cases {
		want := "no-call-id"
		if c.Call != "" {
			want = "masq-in"
		}
		if o := b.send(clientMAC, udp(netip.AddrPortFrom(from(n), 5060), sip, unhex(t, c.Datagram)...)); o.verdict != want {
			t.Errorf("%q: %s, want %s", unhex(t, c.Datagram), o.verdict, want)
		}
	}
	calls := b.calls()
	for n, c := range recorded.Cases {
		var want []byte // the recording has Latin-1 for what is any byte
		for _, r := range c.Call {
			want = append(want, byte(r))
		}
		if got := calls[from(n)]; got != string(want) {
			t.Errorf("%q: Call-ID %q, want %q", unhex(t, c.Datagram), got, want)
		}
	}
	b.checkLoads()
}

// One client's calls are scheduled one by one, however many there are.
func TestCallsOfOneClient(t *testing.T) {
	b := newSIPBench(t)
	server := make(map[int]string)
	port := uint16(1024)
	for range 2 {
		for n := range 200 {
			to := b.to(invite(clientPort(port), fmt.Sprintf("call-%d@example.test", n)))
			if was, known := server[n]; known && was != to {
				t.Fatalf("call %d went to %s, then to %s", n, was, to)
			}
			server[n] = to
			port++
		}
	}
	if server[0] == server[1] || server[0] != server[2] {
		t.Errorf("servers in turn: %v", server)
	}
	b.checkLoads()
}

// What no engine can read is dropped: TCP is none of sip's.
func TestCallsAreUDP(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:5060 -s rr -p 100 --pe sip", "-a -t 10.0.0.80:5060 -r 192.168.1.11:5060 -m")
	if o := b.send(clientMAC, tcp(client, sip, "S")); o.verdict != "no-call-id" || o.action != xdpDrop {
		t.Errorf("TCP: %s", o.verdict)
	}
}

// Names of calls go with their templates.
func TestSweepCalls(t *testing.T) {
	b := newSIPBench(t)
	b.to(invite(client, "short"))
	b.pass(90 * time.Second)
	b.to(invite(clientNumber(1), "long"))
	if err := b.SweepCalls(); err != nil {
		t.Fatal(err)
	}
	if got := b.calls(); got[client.Addr()] != "short" || got[clientNumber(1).Addr()] != "long" {
		t.Errorf("calls %q", got)
	}
	b.relearn(t)
	if got := b.ipvsadm("-S -n"); got != "-A -u 10.0.0.80:5060 -s rr -p 100 --pe sip\n"+
		"-a -u 10.0.0.80:5060 -r 192.168.1.11:5060 -m -w 1\n-a -u 10.0.0.80:5060 -r 192.168.1.12:5060 -m -w 1\n" {
		t.Errorf("adopted: %s", got)
	}
	b.pass(6 * time.Minute)
	b.ageAll()
	b.ageAll()
	if err := b.SweepCalls(); err != nil {
		t.Fatal(err)
	}
	var key directorCallKey
	if b.maps.Calls.NextKey(nil, &key) == nil {
		t.Errorf("%+v is left", key)
	}
}
