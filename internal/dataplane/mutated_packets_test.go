// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// mutatedPackets is how many are sent; LVSX_SEED repeats a run.
const mutatedPackets = 1_000_000

// Whatever arrives: no wrong read or write, no packet that is not counted, none
// passed on that was touched, none sent that is not what the method makes of it.
func TestMutatedPackets(t *testing.T) {
	t.Run("sent by XDP", func(t *testing.T) { sendMutated(t, false, mutatedPackets) })
	t.Run("handed over", func(t *testing.T) { sendMutated(t, true, mutatedPackets/4) })
}

func sendMutated(t *testing.T, handOver bool, packets int) {
	t.Helper()
	seed := testenv.Seed(t)
	if testing.Short() {
		packets /= 20
	}
	b := newBench(t)
	for _, method := range []string{"-m", "-i", "-g"} {
		for _, proto := range []string{"-t", "-u"} {
			service := proto + " " + fuzzVIPs[method].String()
			b.apply("-A " + service + " -s rr")
			for _, server := range fuzzServers {
				if method != "-m" {
					server = netip.AddrPortFrom(server.Addr(), 80)
				}
				b.apply("-a " + service + " -r " + server.String() + " " + method)
			}
		}
	}
	b.apply("-A -t "+fuzzVIPs[""].String()+" -s wrr", "-A -u "+fuzzVIPs[""].String()+" -s rr")

	if handOver {
		b.handOver()
	}
	witnesses := b.establish(20)
	before := b.verdicts()
	m := mutator{rand.New(rand.NewPCG(seed, 0))}
	sent := make(map[string]uint64)
	for i := range packets {
		if i%1000 == 0 {
			b.pass(time.Second / 8)
		}
		f := m.frame()
		o, err := b.try(f)
		if len(f) < 14 && errors.Is(err, unix.EINVAL) {
			continue
		}
		wrong := fmt.Sprint(err)
		if err == nil {
			sent[o.verdict]++
			wrong = check(f, o)
		}
		if wrong != "" {
			t.Fatalf("LVSX_SEED=%d, packet %d: %s (%s)\n in %x\nout %x", seed, i, wrong, o.verdict, f, o.ip)
		}
	}
	for name, after := range b.verdicts() {
		if got := after - before[name]; got != sent[name] {
			t.Errorf("LVSX_SEED=%d: %d packets counted as %s, want %d", seed, got, name, sent[name])
		}
	}
	b.checkLoads()
	b.checkWitnesses(witnesses)
	t.Logf("LVSX_SEED=%d: %v", seed, sent)
}

func (b *bench) verdicts() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, v := range b.Verdicts() {
		counts[v.Name] = v.Packets
	}
	return counts
}

// establish makes connections that nothing else in the test is about, and
// returns their entries.
func (b *bench) establish(n int) map[*directorConn]directorConn {
	b.t.Helper()
	for i := range n {
		c := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 7)
		b.send(clientMAC, tcp(c, vip, "S"))
		if o := b.send(clientMAC, tcp(c, vip, "A")); o.state != "ESTABLISHED" {
			b.t.Fatalf("connection %d is %s", i, o.state)
		}
	}
	entries := make(map[*directorConn]directorConn)
	for e := range b.live() {
		entries[e.conn] = *e.conn
	}
	return entries
}

func (b *bench) checkWitnesses(witnesses map[*directorConn]directorConn) {
	b.t.Helper()
	for entry, before := range witnesses {
		if *entry != before {
			b.t.Errorf("a connection without packets changed from %+v to %+v", before, *entry)
		}
	}
}

// check says what is wrong with what became of a frame.
func check(in []byte, o outcome) string {
	switch fateOf(directorVerdict(slices.Index(verdictNames[:], o.verdict))) {
	case Passed:
		if o.action != xdpPass || !bytes.Equal(o.ip, in[14:]) {
			return "passed on, but changed"
		}
		return ""
	case Dropped:
		if o.action != xdpDrop {
			return fmt.Sprintf("dropped by action %d", o.action)
		}
		return ""
	}
	if o.action != xdpTX && o.action != xdpRedirect {
		return fmt.Sprintf("sent by action %d", o.action)
	}
	if len(o.ip) > len(in)-14+48 {
		return fmt.Sprintf("%d bytes longer", len(o.ip)-(len(in)-14))
	}
	if !slices.ContainsFunc([]net.HardwareAddr{clientMAC, serverMAC(11), serverMAC(12)},
		func(mac net.HardwareAddr) bool { return bytes.Equal(mac, o.mac) }) && !bytes.Equal(o.mac, in[6:12]) {
		return "sent to " + o.mac.String()
	}
	return checkSent(in[14:], o)
}

// checkSent looks at a packet that was sent, by what its verdict says of it.
func checkSent(in []byte, o outcome) string {
	out := o.ip
	src, dst := address(in[12:]), address(in[16:])
	outSrc, outDst := address(out[12:]), address(out[16:])
	made := false // a new packet, not the old one changed
	switch o.verdict {
	case "masq-in":
		if outSrc != src || !isServer(outDst) || !isLaterFragment(in) && binary.BigEndian.Uint16(out[int(out[0]&15)*4+2:]) != 8080 {
			return "not for a real server"
		}
	case "masq-out":
		if !isVIP(outSrc) || outDst != dst {
			return "not from the VIP"
		}
	case "route":
		if outSrc != src || outDst != dst {
			return "addresses changed"
		}
	case "tunnel":
		if outSrc != directorAddress || !isServer(outDst) || out[9] != 4 || out[8] != in[8]-1 {
			return "not the tunnel's header"
		}
		if sum := checksum(out[:20]); sum != 0 {
			return "wrong checksum of the tunnel's header"
		}
		out = out[20:]
	case "error-in":
		if out[9] == 4 {
			out = out[20:]
		} else if outSrc != src || !isServer(outDst) && !isVIP(outDst) {
			return "ICMP error not for a real server"
		}
	case "error-out":
		if !isVIP(outSrc) {
			return "ICMP error not from the VIP"
		}
		made = outDst != dst
	default: // answered
		if outSrc != dst || outDst != src {
			return "answer not to the sender"
		}
		made = true
	}
	if made {
		return broken(out)
	}
	return checkChanged(in, out)
}

// checkChanged looks at what came out of a packet by changing it.
func checkChanged(in, out []byte) string {
	header := int(in[0]&15) * 4
	end := int(binary.BigEndian.Uint16(in[2:]))
	if end != int(binary.BigEndian.Uint16(out[2:])) || len(out) < end {
		return "length changed"
	}
	if out[8] != in[8]-1 {
		return fmt.Sprintf("TTL %d became %d", in[8], out[8])
	}
	if checksum(in[:header]) == 0 && checksum(out[:header]) != 0 {
		return "IP checksum broken"
	}
	if isLaterFragment(in) {
		if !bytes.Equal(in[header:end], out[header:end]) {
			return "fragment changed behind its header"
		}
		return ""
	}
	if udp := in[9] == 17 && in[header+6] == 0 && in[header+7] == 0; !udp && broken(in[:end]) == "" && broken(out[:end]) != "" {
		return broken(out[:end]) + " broken"
	}
	if in[9] == 1 {
		return ""
	}
	mayChange := map[int]bool{8: true, 10: true, 11: true, header: true, header + 1: true, header + 2: true, header + 3: true}
	for i := 12; i < 20; i++ {
		mayChange[i] = true
	}
	check := header + map[byte]int{6: 16, 17: 6}[in[9]]
	mayChange[check], mayChange[check+1] = true, true
	for i := range in[:end] {
		if in[i] != out[i] && !mayChange[i] {
			return fmt.Sprintf("byte %d changed", i)
		}
	}
	return ""
}

func isLaterFragment(ip []byte) bool { return binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 }

func address(at []byte) netip.Addr { return netip.AddrFrom4([4]byte(at)) }

func isServer(a netip.Addr) bool {
	return slices.ContainsFunc(fuzzServers, func(s netip.AddrPort) bool { return s.Addr() == a })
}

func isVIP(a netip.Addr) bool {
	for _, v := range fuzzVIPs {
		if v.Addr() == a {
			return true
		}
	}
	return false
}
