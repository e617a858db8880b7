// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// Chunk types of RFC 9260.
const (
	chunkData        = 0
	chunkInit        = 1
	chunkInitAck     = 2
	chunkHeartbeat   = 4
	chunkAbort       = 6
	chunkShutdown    = 7
	chunkShutdownAck = 8
	chunkError       = 9
	chunkCookieEcho  = 10
	chunkCookieAck   = 11
	chunkComplete    = 14
)

// chunk is one of so many bytes, its header included, with its padding.
func chunk(kind byte, length int) []byte {
	c := make([]byte, (length+3)&^3)
	c[0] = kind
	binary.BigEndian.PutUint16(c[2:], uint16(length))
	for i := 4; i < length; i++ {
		c[i] = byte(i)
	}
	return c
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctp is a packet with these chunks, whatever they are.
func sctp(src, dst netip.AddrPort, chunks ...[]byte) []byte {
	packet := make([]byte, 12)
	binary.BigEndian.PutUint16(packet[0:], src.Port())
	binary.BigEndian.PutUint16(packet[2:], dst.Port())
	binary.BigEndian.PutUint32(packet[4:], 0x11223344)
	packet = slices.Concat(slices.Insert(chunks, 0, packet)...)
	binary.LittleEndian.PutUint32(packet[8:], crc32.Checksum(packet, castagnoli))
	return ip(src.Addr(), dst.Addr(), 132, packet)
}

func brokenCRC(packet []byte) bool {
	zeroed := slices.Clone(packet)
	clear(zeroed[8:12])
	return binary.LittleEndian.Uint32(packet[8:]) != crc32.Checksum(zeroed, castagnoli)
}

// associated has an SCTP connection that is established, to port 8080 of its server.
func associated(t *testing.T, method string) *bench {
	t.Helper()
	b := newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r "+serverOf(method).String()+" "+method)
	b.associate(method)
	return b
}

// serverOf is where NAT maps the port, and the others cannot.
func serverOf(method string) netip.AddrPort {
	if method == "-m" {
		return netip.MustParseAddrPort("192.168.1.11:8080")
	}
	return server11
}

func (b *bench) associate(method string) {
	b.t.Helper()
	b.send(clientMAC, sctp(client, vip, chunk(chunkInit, 20)))
	if method == "-m" {
		b.send(serverMAC(11), sctp(serverOf(method), client, chunk(chunkInitAck, 40)))
	}
	o := b.send(clientMAC, sctp(client, vip, chunk(chunkCookieEcho, 30)))
	if method == "-m" {
		o = b.send(serverMAC(11), sctp(serverOf(method), client, chunk(chunkCookieAck, 4)))
	}
	if o.state != "ESTABLISHED" || broken(o.ip) != "" {
		b.t.Fatalf("the connection is %s (%s) %s", o.state, o.verdict, broken(o.ip))
	}
}

// sctpTable is sctp_states of net/netfilter/ipvs/ip_vs_proto_sctp.c, a row for
// each state: what DATA, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN,
// SHUTDOWN_ACK, SHUTDOWN_COMPLETE, ERROR and ABORT make of it, from the client
// where both sides are seen, from the server, and from the client where it alone
// is seen.
const sctpTable = `
NO  ES I1 CW CR ES SR CL CL CL CL  ES CW CS CE ES SS SA CL CL CL  ES I1 CE ES ES SR CL CL CL CL
I1  I1 IN CW IN I1 I1 IN CL I1 CL  I1 CW CS CE ES SS SA I1 CL RJ  I1 IN CE ES I1 I1 IN CL I1 CL
IN  IN IN CW IN IN IN IN CL IN CL  IN CW CS CE ES SS SA IN CL CL  IN IN CE ES IN IN IN CL IN CL
CS  CS CS CS CR CS CS CS CS CS CL  CS CW CS CE ES SS SA CS CL CL  CS IN CE ES ES CS CS CL CS CL
CR  CR CR CR CR CR CR CR CR CR CL  CR CW CR CE ES SS SA CR CL CL  CR IN CE ES ES CR CR CL CR CL
CW  CW CW CO CW CW CW CW CW CW RJ  CW CW CW CE ES SS CW CW CW CL  ES IN CE ES CW CW CW CW CW RJ
CO  CO CO CO CO CO CO CO CO CO CL  CO CW CO CE ES SS CO CO CO CL  CO CO CO CO ES CO CO CO CO CL
CE  CE CE CE CE ES CE CE CE CL CL  CE CW CE CE ES SS CE CE CE CL  CE CE CE CE ES CE CE CE CE CL
ES  ES ES ES ES ES SR ES ES ES CL  ES ES ES ES ES SS ES ES ES CL  ES ES ES ES ES SR CL ES ES CL
SS  SS SS SS SS SS SS CL SS SS CL  SS CW SS SS SS SS SA SS SS CL  SS SS SS SS SS SS CL SS SS CL
SR  SR SR SR SR SR SR SR SR SR CL  SR CW SR SR SR SR SA SR SR CL  SR SR SR SR SR SR SR CL SR CL
SA  SA SA SA SA SA SA CL CL SA CL  SA CW SA SA SA SA SA SA SA CL  SA SA SA SA SA SA CL CL SA CL
RJ  RJ IN RJ RJ RJ RJ RJ RJ RJ CL  RJ CW RJ RJ RJ RJ RJ RJ RJ CL  RJ IN RJ RJ RJ RJ RJ RJ RJ CL
CL  CL IN CL CL CL CL CL CL CL CL  CL CW CL CL CL CL CL CL CL CL  CL IN CL CL CL CL CL CL CL CL
`

var sctpWords = map[string]string{
	"NO": "NONE", "I1": "INIT1", "IN": "INIT", "CS": "C-SENT", "CR": "C-REPLIED", "CW": "C-WAIT", "CO": "COOKIE", "CE": "C-ECHOED",
	"ES": "ESTABLISHED", "SS": "S-SENT", "SR": "S-RECEIVED", "SA": "S-ACK-SENT", "RJ": "REJECTED", "CL": "CLOSED",
}

// sctpColumns are the events of packets, by the table's columns; -1 is none.
var sctpColumns = []struct {
	name   string
	column int
	chunks [][]byte
}{
	{"DATA", 0, [][]byte{chunk(chunkData, 20)}},
	{"HEARTBEAT", 0, [][]byte{chunk(chunkHeartbeat, 12)}},
	{"type 15", 0, [][]byte{chunk(15, 4)}},
	{"type 255", 0, [][]byte{chunk(255, 4)}},
	{"INIT", 1, [][]byte{chunk(chunkInit, 20)}},
	{"INIT_ACK", 2, [][]byte{chunk(chunkInitAck, 20)}},
	{"COOKIE_ECHO", 3, [][]byte{chunk(chunkCookieEcho, 9)}},
	{"COOKIE_ECHO and DATA", 3, [][]byte{chunk(chunkCookieEcho, 8), chunk(chunkData, 20)}},
	{"COOKIE_ECHO and ABORT", 9, [][]byte{chunk(chunkCookieEcho, 9), chunk(chunkAbort, 4)}},
	{"COOKIE_ECHO, DATA and ABORT", 3, [][]byte{chunk(chunkCookieEcho, 9), chunk(chunkData, 20), chunk(chunkAbort, 4)}},
	{"COOKIE_ACK", 4, [][]byte{chunk(chunkCookieAck, 4)}},
	{"COOKIE_ACK and ABORT", 9, [][]byte{chunk(chunkCookieAck, 4), chunk(chunkAbort, 4)}},
	{"DATA and ABORT", 0, [][]byte{chunk(chunkData, 20), chunk(chunkAbort, 4)}},
	{"SHUTDOWN", 5, [][]byte{chunk(chunkShutdown, 8)}},
	{"SHUTDOWN_ACK", 6, [][]byte{chunk(chunkShutdownAck, 4)}},
	{"SHUTDOWN_COMPLETE", 7, [][]byte{chunk(chunkComplete, 4)}},
	{"ERROR", 8, [][]byte{chunk(chunkError, 8)}},
	{"ABORT", 9, [][]byte{chunk(chunkAbort, 4)}},
	{"nothing", -1, nil},
	{"half a chunk's header", -1, [][]byte{{chunkAbort, 0}}},
}

// Every state, every event, on both sides: the kernel's next state and its time.
func TestSCTPStates(t *testing.T) {
	for _, half := range []struct {
		name, method string
		column       int
		fromServer   bool
	}{
		{"input", "-m", 1, false},
		{"output", "-m", 11, true},
		{"input alone", "-g", 21, false},
	} {
		b := associated(t, half.method)
		for _, line := range strings.Split(strings.TrimSpace(sctpTable), "\n") {
			words := strings.Fields(line)
			state := directorState(slices.Index(stateNames[:], sctpWords[words[0]]))
			if words[0] == "ES" {
				state = directorStateSTATE_SCTP_ESTABLISHED
			}
			for _, event := range sctpColumns {
				want := sctpWords[words[0]]
				if event.column >= 0 {
					want = sctpWords[words[half.column+event.column]]
				}
				if words[0] == "CL" && event.column == 1 && !half.fromServer {
					want = "INIT1" // of a new connection
				}
				t.Run(fmt.Sprintf("%s %s %s", half.name, words[0], event.name), func(t *testing.T) {
					b.t = t
					b.clearConns()
					clear(b.loads.at)
					b.associate(half.method)
					b.force(state)
					from, packet := clientMAC, sctp(client, vip, event.chunks...)
					if half.fromServer {
						from, packet = serverMAC(11), sctp(serverOf(half.method), client, event.chunks...)
					}
					if o := b.send(from, packet); o.state != want || broken(o.ip) != "" {
						t.Errorf("%s (%s) %s, want %s", o.state, o.verdict, broken(o.ip), want)
					}
					if conns := b.conns(); len(conns) == 1 {
						b.checkTimer(want)
					}
					b.ageAll()
					b.checkLoads()
				})
			}
		}
	}
}

// What begins a connection, and how sloppily.
func TestSCTPBegins(t *testing.T) {
	b := newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 -g")
	for sloppy := range 2 {
		b.set("sloppy_sctp", fmt.Sprint(sloppy))
		for i, event := range sctpColumns {
			want := "no-connection"
			readable, aborts := event.column >= 0, event.name == "ABORT"
			if event.column == 1 || sloppy == 1 && readable && !aborts {
				want = "route"
			}
			if o := b.send(clientMAC, sctp(clientNumber(100*sloppy+i), vip, event.chunks...)); o.verdict != want {
				t.Errorf("sloppy_sctp %d, %s: %s, want %s", sloppy, event.name, o.verdict, want)
			}
		}
	}
	b.checkLoads()
}

// An INIT from the port of a closed connection goes to the next server.
func TestSCTPPortReuse(t *testing.T) {
	b := newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr",
		"-a --sctp-service 10.0.0.80:80 -r 192.168.1.12:80 -g", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 -g")
	send := func(kind byte) string {
		return b.send(clientMAC, sctp(client, vip, chunk(kind, 8))).mac.String()[12:]
	}
	got := []string{send(chunkInit), send(chunkInit), send(chunkAbort), send(chunkData), send(chunkInit), send(chunkData)}
	if want := "[01:11 01:11 01:11 01:11 01:12 01:12]"; fmt.Sprint(got) != want {
		t.Errorf("sent to %v, want %s", got, want)
	}
	b.set("conn_reuse_mode", "0")
	if got := []string{send(chunkAbort), send(chunkInit)}; fmt.Sprint(got) != "[01:12 01:12]" {
		t.Errorf("conn_reuse_mode 0: sent to %v", got)
	}
	b.checkLoads()
}

// The checksum of packets of any length is right after the port changed, and
// untouched where it does not.
func TestSCTPChecksums(t *testing.T) {
	b := associated(t, "-m")
	for length := 4; length < 1200; length++ {
		sent := sctp(client, vip, chunk(chunkData, length))
		sent = with(sent[:32+length], func(ip []byte) { binary.BigEndian.PutUint16(ip[2:], uint16(32+length)) }) // without its padding
		o := b.send(clientMAC, sent)
		if o.verdict != "masq-in" || brokenCRC(o.ip[20:]) {
			t.Fatalf("%d bytes: %s, checksum %x", length, o.verdict, o.ip[28:32])
		}
	}
	o := b.send(serverMAC(11), sctp(serverOf("-m"), client, chunk(chunkData, 3000)))
	if o.verdict != "masq-out" || broken(o.ip) != "" {
		t.Errorf("3000 bytes: %s %s", o.verdict, broken(o.ip))
	}

	b = newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 -m")
	wrong := with(sctp(client, vip, chunk(chunkInit, 20)), func(ip []byte) { ip[28] ^= 1 })
	if o := b.send(clientMAC, wrong); o.verdict != "masq-in" || !slices.Equal(o.ip[20:], wrong[20:]) {
		t.Errorf("same port: %s\n%x, want\n%x", o.verdict, o.ip[20:], wrong[20:])
	}
}

// The stack finishes a checksum that a virtual link's sender left to hardware;
// merged packets cannot be taken apart again.
func TestSCTPHandover(t *testing.T) {
	b := associated(t, "-m")
	b.handOver()
	unfinished := with(sctp(client, vip, chunk(chunkData, 20)), func(ip []byte) { clear(ip[28:32]) })
	if o := b.send(clientMAC, unfinished); o.verdict != "masq-in" || binary.LittleEndian.Uint32(o.ip[28:]) != 0 || o.ip[22] != 8080>>8 {
		t.Errorf("unfinished: %s, %x", o.verdict, o.ip[20:32])
	}
	if o := b.send(clientMAC, sctp(client, vip, chunk(chunkData, 20))); o.verdict != "masq-in" || broken(o.ip) != "" {
		t.Errorf("finished: %s %s", o.verdict, broken(o.ip))
	}
	b.settings.Interfaces[loopback].Mtu = 1500
	if o := b.send(clientMAC, sctp(client, vip, chunk(chunkData, 2000))); o.verdict != "merged" {
		t.Errorf("merged: %s", o.verdict)
	}
}

// Fragments follow their first as long as no port changes.
func TestSCTPFragments(t *testing.T) {
	for method, want := range map[string]string{"-m": "fragment", "-g": "route", "-i": "tunnel"} {
		b := associated(t, method)
		for _, f := range inFragments(sctp(client, vip, chunk(chunkData, 100)), 1, 32, 64) {
			if o := b.send(clientMAC, f); o.verdict != want {
				t.Errorf("%s: %s, want %s", method, o.verdict, want)
			}
		}
	}
	b := newBench(t, "-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 -m")
	if o := b.send(clientMAC, inFragments(sctp(client, vip, chunk(chunkInit, 100)), 1, 32)[0]); o.verdict != "fragment" {
		t.Errorf("new connection: %s", o.verdict)
	}
	b.send(clientMAC, sctp(client, vip, chunk(chunkInit, 20)))
	for _, packet := range [][]byte{sctp(client, vip, chunk(chunkData, 100)), sctp(server11, client, chunk(chunkData, 100))} {
		from, verdict := clientMAC, "masq-in"
		if src, _ := endpoints(packet); src == server11 {
			from, verdict = serverMAC(11), "masq-out"
		}
		if got := whole(b.sendAll(from, verdict, inFragments(packet, 2, 32, 64))); broken(got) != "" {
			t.Errorf("%s: %s", verdict, broken(got))
		}
	}
}

// ICMP errors quote eight bytes of an SCTP packet and find its connection.
func TestSCTPErrors(t *testing.T) {
	b := associated(t, "-m")
	server := serverOf("-m")
	quoted := sctp(vip, client, chunk(chunkData, 20))[:28]
	o := b.send(clientMAC, icmpError(client.Addr(), vip.Addr(), 3, 2, 0, quoted))
	if want := sctp(server, client, chunk(chunkData, 20))[:28]; o.verdict != "error-in" || broken(o.ip) != "" || !slices.Equal(o.ip[28:], want) {
		t.Errorf("from the client: %s %s\n%x, want\n%x", o.verdict, broken(o.ip), o.ip[28:], want)
	}
	quoted = sctp(client, server, chunk(chunkData, 20))[:28]
	o = b.send(serverMAC(11), icmpError(server.Addr(), client.Addr(), 3, 2, 0, quoted))
	if want := sctp(client, vip, chunk(chunkData, 20))[:28]; o.verdict != "error-out" || broken(o.ip) != "" || !slices.Equal(o.ip[28:], want) {
		t.Errorf("from the server: %s %s\n%x, want\n%x", o.verdict, broken(o.ip), o.ip[28:], want)
	}
}

// The time of --set is TCP's, and a SYN flood's defence also SCTP's.
func TestSCTPTimeouts(t *testing.T) {
	b := associated(t, "-g")
	b.apply("--set 100 0 0")
	b.send(clientMAC, sctp(client, vip, chunk(chunkData, 20)))
	if left := b.conns()[0].Expires; left < 14*time.Minute {
		t.Errorf("expires in %s", left)
	}
	b.send(clientMAC, sctp(clientNumber(1), vip, chunk(chunkInit, 20)))
	b.set("drop_entry", "3")
	for range 2000 {
		b.dropEntries()
	}
	if conns := b.conns(); len(conns) != 1 || conns[0].State != "ESTABLISHED" {
		t.Errorf("left %v", conns)
	}
}
