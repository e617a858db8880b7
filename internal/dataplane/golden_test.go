// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recording is one file of testdata/packets: what the kernel's IPVS sent for
// each packet (kernel 6.12, ipvsadm 1.31).
type recording struct {
	Name      string
	Setup     []string
	Exchanges []exchange
}

type exchange struct {
	Label   string
	Args    string // of an ipvsadm command between packets
	Stdout  string
	Racy    bool   // differed between the two times it was recorded
	Seconds int    // of a sleep
	Name    string // of a sysctl between packets
	Value   any    // of the sysctl
	Text    string // of a note
	In      *struct{ Side, Hex string }
	Out     []struct {
		Side   string
		DstMAC string `json:"dst_mac"`
		Hex    string
		Varies []int
	}
}

// notBuilt are the recorded exchanges that need what is not built yet. One that
// comes right fails the test, so that the list stays true.
var notBuilt = []struct{ recording, label, need string }{
	{"noserver4", "udp fragment, service without servers", "keeping first fragments until the rest is there"},
}

func isNotBuilt(recording, label string) (string, bool) {
	for _, n := range notBuilt {
		inRecording, _ := filepath.Match(n.recording, recording)
		inLabel, _ := filepath.Match(n.label, label)
		if inRecording && inLabel {
			return n.need, true
		}
	}
	return "", false
}

func TestPacketRecordings(t *testing.T) {
	for _, r := range recordings(t, "packets") {
		t.Run(r.Name, func(t *testing.T) {
			b := newBench(t, r.Setup...)
			b.settings.Interfaces[loopback].Flags |= uint32(directorInterfaceFlagsINTERFACE_SPLITS)
			for _, e := range r.Exchanges {
				wrong := b.replay(t, e)
				need, expected := isNotBuilt(r.Name, e.Label)
				switch {
				case expected && wrong == "":
					t.Errorf("%s: right, though said to need %s", e.Label, need)
				case !expected && wrong != "":
					t.Errorf("%s: %s", e.Label, wrong)
				}
			}
		})
	}
}

// recordings reads all of a kind.
func recordings(t *testing.T, kind string) (all []recording) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", kind, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r recording
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, r)
	}
	return all
}

// replay sends the packet and says what is wrong with what became of it.
func (b *bench) replay(t *testing.T, e exchange) string {
	t.Helper()
	if e.In == nil {
		return b.tell(e)
	}
	from := clientMAC
	if e.In.Side == "server" {
		from = serverMAC(11)
	}
	in := unhex(t, e.In.Hex)
	got := b.send(from, in)
	if got.verdict == "local" {
		_, sent := b.sendOut(refusal(got.ip))
		if len(e.Out) != 1 {
			return "sent by the director itself, want nothing"
		}
		return e.compare(t, 0, sent)
	}
	untouched := got.action == xdpPass && bytes.Equal(got.ip, in)
	switch {
	case len(e.Out) == 0 && (got.action == xdpDrop || untouched):
		return ""
	case len(e.Out) == 0:
		return "sent on (" + got.verdict + "), want nothing"
	case untouched && e.isKernels(t, in):
		return ""
	case got.action == xdpPass || got.action == xdpDrop:
		return fmt.Sprintf("verdict %s, want it sent to %s", got.verdict, e.Out[0].DstMAC)
	case len(e.Out) != 1+len(got.more):
		return fmt.Sprintf("sent %d packets, want %d", 1+len(got.more), len(e.Out))
	}
	if got.mac.String() != e.Out[0].DstMAC {
		return fmt.Sprintf("sent to %s, want %s (%s)", got.mac, e.Out[0].DstMAC, got.verdict)
	}
	for i, ip := range slices.Concat([][]byte{got.ip}, got.more) {
		if wrong := e.compare(t, i, ip); wrong != "" {
			return wrong
		}
	}
	return ""
}

// tell does what was done between packets, and says what is wrong with it.
func (b *bench) tell(e exchange) string {
	b.t.Helper()
	if e.Label == "sysctl" {
		return b.sysctl(e.Name, e.Value)
	}
	if strings.HasPrefix(e.Args, "-a") || strings.HasPrefix(e.Args, "-d") || strings.HasPrefix(e.Args, "-D") {
		b.apply(e.Args)
	}
	return ""
}

// sysctl gives a setting a value that the kernel took, and says what is wrong
// if it is not taken.
func (b *bench) sysctl(name string, value any) string {
	if err := b.Set(name, fmt.Sprint(value)); err != nil {
		return err.Error()
	}
	return ""
}

// isKernels tells whether the recorded answer is made by the kernel's own stack
// of a packet that is handed up: it answers for the VIP where there is no
// connection, and routes on what comes from real servers for others.
func (e exchange) isKernels(t *testing.T, in []byte) bool {
	t.Helper()
	sent := unhex(t, e.Out[0].Hex)
	routed := e.In.Side == "server" && len(sent) == len(in) && bytes.Equal(sent[12:], in[12:])
	if routed || e.Label == "server packet, ttl 1" {
		return true
	}
	for _, answered := range []string{"no connection: ", "no service", "ack without connection", "port without a service", "echo request", "timestamp request", "tcp ack, service without servers", "client data after the entry ended", "expire_nodest_conn=1: ", "data after the service was deleted", "data without an association"} {
		if strings.HasPrefix(e.Label, answered) {
			return e.Out[0].Side == e.In.Side // a SYN+ACK may open a connection
		}
	}
	return false
}

// compare says how the packet differs from the recorded one of that number.
func (e exchange) compare(t *testing.T, number int, ip []byte) string {
	t.Helper()
	recorded := e.Out[number]
	want := unhex(t, recorded.Hex)
	ip = slices.Clone(ip)
	if wrong := checkTunnelSum(ip); wrong != "" {
		return fmt.Sprintf("wrong %s in %x", wrong, ip)
	}
	clearVarying(want, recorded.Varies, recorded.Side == e.In.Side)
	clearVarying(ip, recorded.Varies, recorded.Side == e.In.Side)
	if diff := cmp.Diff(fmt.Sprintf("%x", want), fmt.Sprintf("%x", ip)); diff != "" {
		return fmt.Sprintf("packet %d (-want +got)\n%s", number, diff)
	}
	return ""
}

// tunnelHeader returns GUE's UDP header, of which the source port varies, and
// a checksum over it.
func tunnelHeader(ip []byte, varies []int) []byte {
	header := 20
	switch {
	case isIPv6Fragment(ip):
		header = 48
	case ip[0]>>4 == 6:
		header = 40
	}
	if !slices.Contains(varies, header) && !slices.Contains(varies, header+1) || len(ip) < header+8 {
		return nil
	}
	return ip[header:]
}

func isIPv6Fragment(ip []byte) bool { return ip[0]>>4 == 6 && ip[6] == 44 }

// checkTunnelSum says what is wrong with a checksum over a source port that
// varies, so that no recording can tell.
func checkTunnelSum(ip []byte) string {
	src, _, proto, l4 := transportOf(ip)
	if isIPv6Fragment(ip) || ip[0]>>4 == 4 && ip[6]&0x3f|ip[7] != 0 {
		return "" // of the whole that it is a part of
	}
	if proto != 17 || src != directorAddress && src != directorAddress6 || l4[6]|l4[7] == 0 {
		return ""
	}
	return broken(ip)
}

// clearVarying clears what of a header is the director's own choice: a port of a
// tunnel, an IPv4 ID
// with the checksum over it, an IPv6 flow label. They vary as a whole.
func clearVarying(ip []byte, varies []int, answer bool) {
	if len(ip) < 20 {
		return
	}
	if udp := tunnelHeader(ip, varies); udp != nil {
		clear(udp[0:2])
		clear(udp[6:8])
	}
	if isIPv6Fragment(ip) {
		clear(ip[44:48]) // its ID
	}
	if ip[0]>>4 == 6 {
		if answer {
			ip[1] &= 0xf0
			clear(ip[2:4])
		}
		return
	}
	for _, field := range [][2]int{{4, 6}, {10, 12}} {
		if answer || slices.Contains(varies, field[0]) || slices.Contains(varies, field[1]-1) {
			clear(ip[field[0]:field[1]])
		}
	}
}
