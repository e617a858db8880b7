// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// forgery spoils a tunnel packet in one way.
type forgery struct {
	verdict string // by which it is dropped
	spoil   func(p *forged, dice *rand.Rand)
}

// forged is a tunnel packet of which the places are known.
type forged struct {
	bytes []byte // from the outer header on
	inner int
}

func (p *forged) outerSource() []byte { return source(p.bytes) }
func (p *forged) innerSource() []byte { return source(p.bytes[p.inner:]) }
func (p *forged) innerVIP() []byte    { return destination(p.bytes[p.inner:]) }

func source(packet []byte) []byte {
	if isIPv6(packet) {
		return packet[8:24]
	}
	return packet[12:16]
}

func destination(packet []byte) []byte {
	if isIPv6(packet) {
		return packet[24:40]
	}
	return packet[16:20]
}

// protocolOf returns where the number of what an IP packet carries stands.
func protocolOf(packet []byte) *byte {
	if isIPv6(packet) {
		return &packet[6]
	}
	return &packet[9]
}

// lengthOf returns the two bytes of an IP packet's length.
func lengthOf(packet []byte) []byte {
	if isIPv6(packet) {
		return packet[4:6]
	}
	return packet[2:4]
}

var forgeries = []forgery{
	{"untrusted", func(p *forged, dice *rand.Rand) { change(p.outerSource(), dice) }},
	{"untrusted", func(p *forged, _ *rand.Rand) { copy(p.outerSource(), destination(p.bytes)) }}, // from ourselves
	{"not-vip", func(p *forged, dice *rand.Rand) { change(p.innerVIP(), dice) }},
	{"nested", func(p *forged, dice *rand.Rand) {
		*protocolOf(p.bytes[p.inner:]) = []byte{unix.IPPROTO_IPIP, unix.IPPROTO_IPV6, unix.IPPROTO_GRE}[dice.IntN(3)]
	}},
	{"martian", func(p *forged, _ *rand.Rand) { copy(p.innerSource(), p.innerVIP()) }}, // gone in a circle
	{"martian", func(p *forged, _ *rand.Rand) {
		if isIPv6(p.bytes[p.inner:]) {
			copy(p.innerSource(), rip6.AsSlice())
		} else {
			copy(p.innerSource(), rip.AsSlice())
		}
	}},
	{"malformed", func(p *forged, dice *rand.Rand) { lengthOf(p.bytes[p.inner:])[0] = byte(1 + dice.IntN(255)) }},
	{"malformed", func(p *forged, dice *rand.Rand) { p.bytes = p.bytes[:len(p.bytes)-1-dice.IntN(40)] }},
}

// change makes it another address.
func change(address []byte, dice *rand.Rand) {
	address[len(address)-1-dice.IntN(4)] ^= byte(1 + dice.IntN(255))
}

// A million forged packets, each wrong in one thing only: none comes through,
// and each is counted by its name.
func TestForgedTunnels(t *testing.T) {
	d := loadForAll(t)
	var honest []forged
	for _, e := range mixtures {
		for _, w := range wrappings {
			if w.sum < 0 || w.name == "gre with checksum" {
				inner := datagram(e.client, e.vip, "GET /forged HTTP/1.1, and some more of it")
				outer := w.wrap(e.from, e.to, inner)
				honest = append(honest, forged{outer, len(outer) - len(inner)})
			}
		}
	}
	const packets = 1_000_000
	dice := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	want := make(map[string]uint64)
	in, out := make([]byte, 0, 512), make([]byte, 512)
	for range packets {
		from := honest[dice.IntN(len(honest))]
		in = append(in[:0], 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
		in = binary.BigEndian.AppendUint16(in, etherType(from.bytes))
		in = append(in, from.bytes...)
		p := forged{in[frameHeader:], from.inner}
		f := forgeries[dice.IntN(len(forgeries))]
		f.spoil(&p, dice)
		setHeaderSum(p.bytes)
		want[f.verdict]++
		action, err := d.program.Run(&ebpf.RunOptions{Data: in[:frameHeader+len(p.bytes)], DataOut: out})
		if err != nil {
			t.Fatal(err)
		}
		if action != xdpDrop {
			t.Fatalf("%s: action %d for %x", f.verdict, action, p.bytes)
		}
	}
	if diff := cmp.Diff(want, counts(t, d)); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// Whatever is spoilt, what comes out is the packet itself, an unwrapped one or
// nothing, and each packet is counted once.
func TestMutatedTunnels(t *testing.T) {
	d := loadForAll(t)
	dice := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	const rounds = 5000
	tested := uint64(0)
	for _, e := range mixtures {
		for _, w := range wrappings {
			honest := frame(w.wrap(e.from, e.to, datagram(e.client, e.vip, "GET /")))
			for range rounds {
				in := bytes.Clone(honest)
				for range dice.IntN(4) {
					in[frameHeader+dice.IntN(len(in)-frameHeader)] = byte(dice.Uint32())
				}
				in = in[:frameHeader+1+dice.IntN(len(in)-frameHeader)]
				action, out, err := d.program.Test(in)
				if err != nil {
					t.Fatal(err)
				}
				tested++
				whole := bytes.Equal(out, in)
				unwrapped := len(out) < len(in) && len(out) > frameHeader
				if action != xdpDrop && (action != xdpPass || !whole && !unwrapped) {
					t.Fatalf("action %d makes of\n%x\n%x", action, in, out)
				}
			}
		}
	}
	var sum uint64
	for _, packets := range counts(t, d) {
		sum += packets
	}
	if sum != tested {
		t.Errorf("%d packets are counted of %d", sum, tested)
	}
}
