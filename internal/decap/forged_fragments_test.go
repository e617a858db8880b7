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

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

// forgedFragments are those of a tunnel's packet, of which the places are known.
type forgedFragments struct {
	outer  []byte // all of the packet
	inner  int    // where the inner header is in it
	pieces [][]byte
}

const pieceSize = 208 // of four

// content returns what the outer IP header of a piece carries.
func (p *forgedFragments) content(piece int) []byte {
	if isIPv6(p.outer) {
		return p.pieces[piece][48:]
	}
	return p.pieces[piece][20:]
}

// replace makes a piece another one of the packet.
func (p *forgedFragments) replace(piece, offset int, content []byte, more bool) {
	p.pieces[piece] = fragmentOf(p.outer, offset, content, more)
}

// innerHeader returns it as the first piece has it.
func (p *forgedFragments) innerHeader() []byte { return p.content(0)[p.inner-headerOf(p.outer):] }

// sayLength makes the inner header, and UDP's, say that all is longer, or shorter.
func (p *forgedFragments) sayLength(change int) {
	add(lengthOf(p.innerHeader()), change)
	if *protocolOf(p.outer) == unix.IPPROTO_UDP {
		add(p.content(0)[4:6], change)
	}
}

// setID makes them those of another packet.
func (p *forgedFragments) setID(id int) {
	for _, piece := range p.pieces {
		add(idOf(piece), id)
	}
}

func add(number []byte, n int) {
	binary.BigEndian.PutUint16(number, binary.BigEndian.Uint16(number)+uint16(n))
}

// fragmentForgery spoils a piece, which then has the verdict.
type fragmentForgery struct {
	name    string
	piece   int
	verdict string
	spoil   func(p *forgedFragments, dice *rand.Rand)
}

var fragmentForgeries = []fragmentForgery{
	{"from a stranger", 0, "untrusted", func(p *forgedFragments, dice *rand.Rand) { change(source(p.pieces[0]), dice) }},
	{"for no VIP", 0, "not-vip", func(p *forgedFragments, dice *rand.Rand) { change(destination(p.innerHeader()), dice) }},
	{"gone in a circle", 0, "martian", func(p *forgedFragments, _ *rand.Rand) { copy(source(p.innerHeader()), destination(p.innerHeader())) }},
	{"a tunnel inside", 0, "nested", func(p *forgedFragments, _ *rand.Rand) { *protocolOf(p.innerHeader()) = unix.IPPROTO_GRE }},
	{"a piece of the inner header", 0, "malformed", func(p *forgedFragments, _ *rand.Rand) {
		p.replace(0, 0, p.content(0)[:(p.inner-headerOf(p.outer)+16)&^7], true)
	}},
	{"eight bytes behind the inner header", 0, "bad-fragment", func(p *forgedFragments, _ *rand.Rand) {
		p.replace(0, 0, p.content(0)[:(p.inner-headerOf(p.outer)+headerOf(p.innerHeader())+15)&^7], true)
	}},
	{"a length that the first exceeds", 0, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.sayLength(-len(p.outer) + headerOf(p.outer) + pieceSize - dice.IntN(100))
	}},
	{"a length that a later one exceeds", 1, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.sayLength(-len(p.outer) + headerOf(p.outer) + 2*pieceSize - dice.IntN(100))
	}},
	{"a length that the last exceeds", 3, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) { p.sayLength(-1 - dice.IntN(50)) }},
	{"a length that none reaches", 3, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) { p.sayLength(1 + dice.IntN(10000)) }},
	{"a later one from a stranger", 1, "untrusted", func(p *forgedFragments, dice *rand.Rand) { change(source(p.pieces[1]), dice) }},
	{"of another packet", 2, "outer-fragment", func(p *forgedFragments, _ *rand.Rand) { add(idOf(p.pieces[2]), 1<<15) }},
	{"over its predecessor", 2, "outer-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(2, 2*pieceSize-8*(1+dice.IntN(25)), p.content(2), true)
	}},
	{"over the first", 3, "outer-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(3, 8*(1+dice.IntN(10)), p.content(3), false)
	}},
	{"behind a gap", 1, "outer-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(1, pieceSize+8*(1+dice.IntN(1000)), p.content(1), true)
	}},
	{"ends between units", 1, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(1, pieceSize, p.content(1)[:pieceSize-1-dice.IntN(7)], true)
	}},
	{"empty", 2, "bad-fragment", func(p *forgedFragments, _ *rand.Rand) { p.replace(2, 2*pieceSize, nil, true) }},
	{"too long", 3, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(3, 3*pieceSize, append(p.content(3), make([]byte, 1+dice.IntN(100))...), false)
	}},
	{"too short", 3, "bad-fragment", func(p *forgedFragments, dice *rand.Rand) {
		p.replace(3, 3*pieceSize, p.content(3)[:dice.IntN(len(p.content(3)))], false)
	}},
	{"more behind the end", 3, "bad-fragment", func(p *forgedFragments, _ *rand.Rand) {
		p.replace(3, 3*pieceSize, append(p.content(3), make([]byte, 8-len(p.content(3))%8)...), true)
	}},
	{"a middle one the last", 2, "bad-fragment", func(p *forgedFragments, _ *rand.Rand) {
		p.replace(2, 2*pieceSize, p.content(2), false)
	}},
	{"cut off", 2, "malformed", func(p *forgedFragments, dice *rand.Rand) {
		p.pieces[2] = p.pieces[2][:len(p.pieces[2])-1-dice.IntN(100)]
	}},
}

// Packets with one forged fragment: it does not come through, nor does what is
// behind it, so nothing whole does. Of UDP those left over are not known to be a
// tunnel's.
func TestForgedFragments(t *testing.T) {
	d := loadForAll(t)
	dice := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	id := 0
	want := make(map[string]uint64)
	for name, e := range mixtures {
		for _, w := range wrappings {
			inner := datagram(e.client, e.vip, text(3*pieceSize+50))
			outer := w.wrap(e.from, e.to, inner)
			for _, f := range fragmentForgeries {
				t.Run(name+" "+w.name+"/"+f.name, func(t *testing.T) {
					for range 20 { // so that no ids are 1<<15 apart
						p := forgedFragments{outer, len(outer) - len(inner), inFragments(outer, pieceSize)}
						f.spoil(&p, dice)
						id++
						p.setID(id)
						for i, piece := range p.pieces {
							verdict := f.verdictOf(i, w.tunnel)
							want[verdict]++
							checkForged(t, d, piece, verdict)
						}
					}
				})
			}
		}
	}
	if diff := cmp.Diff(want, counts(t, d)); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// verdictOf returns what a piece comes to.
func (f *fragmentForgery) verdictOf(piece int, tunnel ipvs.TunnelType) string {
	verdict := "outer-fragment"
	if piece < f.piece {
		return "unwrapped"
	}
	if piece == f.piece {
		verdict = f.verdict
	}
	if piece > 0 && tunnel == ipvs.GUE && (verdict == "outer-fragment" || verdict == "untrusted") {
		return "not-tunnel"
	}
	return verdict
}

// checkForged wants a piece to be dropped, but for two verdicts.
func checkForged(t *testing.T, d *Decapsulator, piece []byte, verdict string) {
	t.Helper()
	setHeaderSum(piece)
	in, action := frame(piece), uint32(xdpDrop)
	if verdict == "unwrapped" || verdict == "not-tunnel" {
		action = xdpPass
	}
	options := ebpf.RunOptions{Data: in, DataOut: make([]byte, 2048)}
	got, err := d.program.Run(&options)
	if err != nil {
		t.Fatal(err)
	}
	if got != action || verdict == "not-tunnel" && !bytes.Equal(options.DataOut, in) {
		t.Fatalf("action is %d, want %s; of\n%x became\n%x", got, verdict, in, options.DataOut)
	}
}

// What no director makes cannot be handed on in fragments.
func TestBadFragments(t *testing.T) {
	option := []byte{17, 0, 1, 4, 0, 0, 0, 0}
	inner6 := datagram(client6, vip6, text(600))
	inner := datagram(client, vip, text(600))
	udp := func(length int, header ...uint16) []byte {
		content := append(be16(40000, guePort, uint16(length), 0), be16(header...)...)
		return ip(director, rip, unix.IPPROTO_UDP, append(content, inner...))
	}
	for name, test := range map[string]struct {
		outer   []byte
		verdict string
	}{
		"extension inside":                {ip(director6, rip6, 41, ip(client6, vip6, 60, append(option, inner6[40:]...))), "bad-fragment"},
		"checksum left to the receiver":   {udp(20+len(inner), 0x0204, 1, 0x8000, 0, 20, 26), "bad-fragment"},
		"UDP shorter than what is inside": {udp(11+len(inner), 0x0004, 0), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := loadForAll(t)
			fragments := inFragments(test.outer, 208)
			expect(t, d, frame(fragments[0]), test.verdict, nil)
		})
	}
}
