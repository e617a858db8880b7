// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Fragments of any tunnel become fragments of the packet inside.
func TestOuterFragments(t *testing.T) {
	d := loadForAll(t)
	for name, e := range mixtures {
		for _, w := range wrappings {
			t.Run(name+" "+w.name, func(t *testing.T) {
				for _, length := range []int{200, 1472, 4001, 60000} {
					inner := datagram(e.client, e.vip, text(length))
					for _, size := range []int{88, 1456, 1480} {
						fragments := inFragments(w.wrap(e.from, e.to, inner), size)
						if len(fragments) == 1 {
							continue
						}
						got := receive(t, handOn(t, d, fragments))
						if want := identified(inner); !bytes.Equal(got, want) {
							t.Fatalf("%d bytes in pieces of %d become\n%x, want\n%x", length, size, got, want)
						}
					}
				}
			})
		}
	}
}

// The inner packet's own header stays as it is: its id, options, and where it is
// itself a fragment of more.
func TestOuterFragmentsOfOddPackets(t *testing.T) {
	d := loadForAll(t)
	for name, change := range map[string]func(inner []byte) []byte{
		"id":             func(inner []byte) []byte { copy(inner[4:], be16(77, 0)); return inner },
		"first fragment": func(inner []byte) []byte { copy(inner[4:], be16(77, 0x2000)); return inner },
		"next fragment":  func(inner []byte) []byte { copy(inner[4:], be16(77, 0x2000|1000/8)); return inner },
		"last fragment":  func(inner []byte) []byte { copy(inner[4:], be16(77, 3000/8)); return inner },
		"options": func(inner []byte) []byte {
			copy(inner, be16(0x4600, uint16(4+len(inner)), 77, 0))
			return slices.Insert(inner, 20, 1, 1, 1, 0)
		},
		"all options": func(inner []byte) []byte {
			copy(inner, be16(0x4f00, uint16(40+len(inner)), 77, 0))
			return slices.Insert(inner, 20, bytes.Repeat([]byte{1}, 40)...)
		},
	} {
		for _, w := range wrappings {
			for _, ends := range []string{"4in4", "4in6"} {
				t.Run(name+" "+ends+" "+w.name, func(t *testing.T) {
					e := mixtures[ends]
					inner := change(datagram(e.client, e.vip, text(1600)))
					setOptionsSum(inner)
					got := receive(t, handOn(t, d, inFragments(w.wrap(e.from, e.to, inner), 576)))
					if !bytes.Equal(got, inner) {
						t.Errorf("packet is\n%x, want\n%x", got, inner)
					}
				})
			}
		}
	}
}

// Packets whose fragments come by turns are told apart.
func TestOuterFragmentsByTurns(t *testing.T) {
	d := loadForAll(t)
	other := netip.MustParseAddr("10.0.0.6")
	if err := d.Add(Directors, other); err != nil {
		t.Fatal(err)
	}
	var inners [2][]byte
	var fragments, got [2][][]byte
	for i, from := range []netip.Addr{director, other} {
		inners[i] = datagram(client, vip, strings.Repeat(fmt.Sprint(i), 1000))
		fragments[i] = inFragments(wrappings[0].wrap(from, rip, inners[i]), 208)
	}
	for n := range fragments[0] {
		for i := range inners {
			got[i] = append(got[i], handOn(t, d, fragments[i][n:n+1])...)
		}
	}
	for i, inner := range inners {
		if diff := cmp.Diff(hex.EncodeToString(identified(inner)), hex.EncodeToString(receive(t, got[i]))); diff != "" {
			t.Errorf("packet %d (-want +got):\n%s", i, diff)
		}
	}
}

// A fragment needs the one before it, and only once. Of UDP nobody knows then that
// it is a tunnel's.
func TestOuterFragmentsOutOfOrder(t *testing.T) {
	d := loadForAll(t)
	for name, e := range mixtures {
		for _, w := range wrappings {
			t.Run(name+" "+w.name, func(t *testing.T) {
				f := inFragments(w.wrap(e.from, e.to, datagram(e.client, e.vip, text(800))), 208)
				refuse := func(piece int) {
					t.Helper()
					if w.tunnel == ipvs.GUE {
						expect(t, d, frame(f[piece]), "not-tunnel", f[piece])
					} else {
						expect(t, d, frame(f[piece]), "outer-fragment", nil)
					}
				}
				refuse(1)
				handOn(t, d, f[:1])
				refuse(2)
				handOn(t, d, f[1:2])
				refuse(1) // again
				handOn(t, d, f[2:])
				refuse(3)
				handOn(t, d, f) // under the same id
			})
		}
	}
}

// RFC 6040: a mark of congestion on any of them is carried over. Where the packet
// inside cannot carry it, that fragment is dropped, and so the packet.
func TestCongestionOfFragments(t *testing.T) {
	const ect0, ce = 2, 3
	mark := func(packet []byte, ecn byte) []byte {
		if isIPv6(packet) {
			packet[1] |= ecn << 4
		} else {
			packet[1] |= ecn
			setHeaderSum(packet)
		}
		return packet
	}
	ecn := func(packet []byte) byte {
		if isIPv6(packet) {
			return packet[1] >> 4 & 3
		}
		return packet[1] & 3
	}
	d := loadForAll(t)
	for name, e := range mixtures {
		t.Run(name, func(t *testing.T) {
			inner := mark(datagram(e.client, e.vip, text(700)), ect0)
			f := inFragments(wrappings[0].wrap(e.from, e.to, inner), 208)
			mark(f[1], ce)
			var got []byte
			for _, piece := range handOn(t, d, f) {
				got = append(got, ecn(piece))
			}
			if diff := cmp.Diff([]byte{ect0, ce, ect0, ect0}, got); diff != "" {
				t.Errorf("marks (-want +got):\n%s", diff)
			}
			f = inFragments(wrappings[0].wrap(e.from, e.to, datagram(e.client, e.vip, text(700))), 208)
			handOn(t, d, f[:1])
			expect(t, d, frame(mark(f[1], ce)), "congestion", nil)
		})
	}
}

// A fragment that is all of its packet, as kernels send them by IPv6 (RFC 6946).
func TestAtomicFragment(t *testing.T) {
	d := loadForAll(t)
	for _, w := range wrappings {
		inner := datagram(client6, vip6, "GET /")
		expect(t, d, frame(inFragments(w.wrap(director6, rip6, inner), 1480)[0]), "unwrapped", inner)
		outer := w.wrap(director6, rip6, inner)
		atomic := fragmentOf(outer, 0, outer[40:], false)
		expect(t, d, frame(atomic), "unwrapped", inner)
	}
}
