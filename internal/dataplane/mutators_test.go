// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
)

// fuzzer makes frames of the classes' packets by changing them, without garbage:
// a frame is good until the next.
type fuzzer struct {
	*rand.Rand
	seeds [][]byte
	buf   [4096]byte
}

// seedsPerClass is how many packets of each class are made ahead.
const seedsPerClass = 64

func newFuzzer(r *rand.Rand) *fuzzer {
	f := &fuzzer{Rand: r}
	for _, c := range classes {
		for range seedsPerClass {
			f.seeds = append(f.seeds, c.make(maker{r}))
		}
	}
	return f
}

// frame returns a valid packet or one with up to four changes.
func (f *fuzzer) frame() []byte {
	seed := f.seeds[f.IntN(len(f.seeds))]
	b := f.buf[:copy(f.buf[:], seed)]
	for range f.IntN(5) {
		if len(b) < 34 {
			break
		}
		b = mutators[f.IntN(len(mutators))](f, b)
		if f.IntN(3) > 0 && len(b) >= 34 {
			mend(b[14:])
		}
	}
	switch f.IntN(100) {
	case 0: // Ethernet's padding
		b = f.buf[:min(len(b)+f.IntN(60), len(f.buf))]
	case 1:
		b = f.fill(f.buf[:14+f.IntN(200)])
	}
	return b
}

func (f *fuzzer) fill(b []byte) []byte {
	for i := range b {
		b[i] = byte(f.Uint32())
	}
	return b
}

func choose[T any](f *fuzzer, from ...T) T { return from[f.IntN(len(from))] }

// mutators change a frame of at least 34 bytes within the fuzzer's buffer.
var mutators = []func(f *fuzzer, b []byte) []byte{
	flipBits, flipBits, cut, cut, cut, lieAboutLength, lieAboutLength, setHeaderLength, addOptions, setFragment, setTTL,
	setMartian, setPorts, setPorts, setFlags, setProtocol, dropChecksum, tag, nest, cutQuote, setType, stray, setTOS,
}

func flipBits(f *fuzzer, b []byte) []byte {
	for range 1 + f.IntN(8) {
		b[14+f.IntN(len(b)-14)] ^= 1 << f.IntN(8)
	}
	return b
}

func cut(f *fuzzer, b []byte) []byte {
	return b[:14+f.IntN(len(b)-13)]
}

// lieAboutLength may say more than there is, or less.
func lieAboutLength(f *fuzzer, b []byte) []byte {
	length := f.IntN(1 << (1 + f.IntN(16)))
	if f.IntN(2) == 0 {
		length = f.IntN(len(b) - 13)
	}
	binary.BigEndian.PutUint16(b[16:], uint16(length))
	return b
}

func setHeaderLength(f *fuzzer, b []byte) []byte {
	b[14] = 4<<4 | byte(f.IntN(16))
	return b
}

func addOptions(f *fuzzer, b []byte) []byte {
	bytes := 4 * (1 + f.IntN(10))
	if b[14] != 0x45 || len(b)+bytes > len(f.buf) {
		return b
	}
	b = b[:len(b)+bytes]
	copy(b[34+bytes:], b[34:])
	f.fill(b[34 : 34+bytes])
	b[14] += byte(bytes / 4)
	binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+uint16(bytes))
	return b
}

func setFragment(f *fuzzer, b []byte) []byte {
	binary.BigEndian.PutUint16(b[20:], choose[uint16](f, 0x2000, 1, 0x2001, 0x4000, 0x8000, 0, uint16(f.Uint32())))
	return b
}

func setTTL(f *fuzzer, b []byte) []byte {
	b[22] = byte(f.IntN(3))
	return b
}

func setMartian(f *fuzzer, b []byte) []byte {
	copy(b[26+4*f.IntN(2):], choose(f, "\x00\x00\x00\x00", "\x00\x01\x02\x03", "\x7f\x00\x00\x01", "\xe0\x00\x00\x01",
		"\xff\xff\xff\xff", "\x0a\x00\x00\x50", "\x0a\x00\x00\x51", "\xc0\xa8\x01\x0b", "\xac\x10\x00\x05"))
	return b
}

func setPorts(f *fuzzer, b []byte) []byte {
	at := 14 + int(b[14]&15)*4 + 2*f.IntN(2)
	if at+2 <= len(b) {
		binary.BigEndian.PutUint16(b[at:], choose[uint16](f, 0, 65535, 20, 80, 8080, 53, uint16(40000+f.IntN(50)), uint16(f.Uint32())))
	}
	return b
}

func setFlags(f *fuzzer, b []byte) []byte {
	if at := 14 + int(b[14]&15)*4 + 12; at+2 <= len(b) {
		b[at], b[at+1] = byte(f.Uint32()), byte(f.Uint32())
	}
	return b
}

func setProtocol(f *fuzzer, b []byte) []byte {
	b[23] = choose[byte](f, 1, 4, 6, 17, 41, 47, 132, byte(f.Uint32()))
	return b
}

func dropChecksum(_ *fuzzer, b []byte) []byte {
	at := 14 + int(b[14]&15)*4 + 6
	if b[23] == 6 {
		at += 10
	}
	if at+2 <= len(b) {
		b[at], b[at+1] = 0, 0
	}
	return b
}

// tag puts one or two VLAN tags in.
func tag(f *fuzzer, b []byte) []byte {
	for range 1 + f.IntN(2) {
		if len(b)+4 > len(f.buf) {
			return b
		}
		b = b[:len(b)+4]
		copy(b[16:], b[12:])
		binary.BigEndian.PutUint16(b[12:], choose[uint16](f, 0x8100, 0x88a8))
		binary.BigEndian.PutUint16(b[14:], uint16(f.Uint32()))
	}
	return b
}

// nest wraps the packet in another of its kind.
func nest(f *fuzzer, b []byte) []byte {
	if len(b)+20 > len(f.buf) {
		return b
	}
	b = b[:len(b)+20]
	copy(b[34:], b[14:])
	b[14], b[23] = 0x45, 4
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
	return b
}

// cutQuote leaves up to 28 bytes of what an ICMP error is about.
func cutQuote(f *fuzzer, b []byte) []byte {
	length := 28 + f.IntN(29)
	if b[23] != 1 || 14+length > len(b) {
		return b
	}
	binary.BigEndian.PutUint16(b[16:], uint16(length))
	return b[:14+length]
}

func setType(f *fuzzer, b []byte) []byte {
	if at := 14 + int(b[14]&15)*4; b[23] == 1 && at+2 <= len(b) {
		b[at], b[at+1] = choose[byte](f, 0, 3, 4, 5, 8, 11, 12, 13, byte(f.Uint32())), byte(f.IntN(16))
	}
	return b
}

// stray makes it be for somebody else.
func stray(f *fuzzer, b []byte) []byte {
	b[f.IntN(6)] ^= byte(1 + f.IntN(255))
	return b
}

func setTOS(f *fuzzer, b []byte) []byte {
	b[15] = byte(f.Uint32())
	return b
}
