// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// fuzzer makes frames of the classes' packets by changing them, without garbage:
// a frame is good until the next.
type fuzzer struct {
	*rand.Rand
	seeds [][]byte
	own   [][]byte // what the director itself sends
	buf   [4096]byte
}

// seedsPerClass is how many packets of each class are made ahead.
const seedsPerClass = 64

func newFuzzer(r *rand.Rand) *fuzzer {
	f := &fuzzer{Rand: r}
	f.seeds, f.own = f.make(slices.Concat(classes, frontClasses)), f.make(ownClasses)
	return f
}

func (f *fuzzer) make(classes []class) (seeds [][]byte) {
	for _, c := range classes {
		for i := range seedsPerClass {
			seeds = append(seeds, c.make(maker{f.Rand, i%2 == 1}))
		}
	}
	return seeds
}

// ownFrame is valid: nobody else has the stack send what is not.
func (f *fuzzer) ownFrame() []byte { return choose(f, f.own...) }

// frame returns a valid packet or one with up to four changes.
func (f *fuzzer) frame() []byte {
	seed := f.seeds[f.IntN(len(f.seeds))]
	b := f.buf[:copy(f.buf[:], seed)]
	for range f.IntN(5) {
		if len(b) < 34 {
			break
		}
		b = mutators[f.IntN(len(mutators))](f, b)
		if f.IntN(3) > 0 {
			mendFrame(b)
		}
	}
	switch f.IntN(100) {
	case 0: // Ethernet's padding
		b = f.buf[:min(len(b)+f.IntN(60), len(f.buf))]
	case 1:
		b = f.random()
	}
	return b
}

// random is a frame of any bytes, half of the time one for the director that says
// that it is IP.
func (f *fuzzer) random() []byte {
	b := f.fill(f.buf[:14+f.IntN(200)])
	if f.IntN(2) == 0 {
		copy(b, directorMAC)
		binary.BigEndian.PutUint16(b[12:], choose[uint16](f, 0x0800, 0x86dd))
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

// mendFrame makes the checksums right that the packet claims to have, but for
// those of TCP and UDP.
func mendFrame(b []byte) {
	if len(b) < 34 {
		return
	}
	if !hasIPv6(b) {
		mend(b[14:])
		return
	}
	if end := 54 + int(binary.BigEndian.Uint16(b[18:])); b[20] == 58 && end <= len(b) && end >= 62 {
		message := b[54:end]
		clear(message[2:4])
		pseudo := [8]byte{byte(len(message) >> 8), byte(len(message)), 0, 58}
		binary.BigEndian.PutUint16(message[2:], checksum(b[22:54], pseudo[:4], message))
	}
}

func hasIPv6(b []byte) bool { return b[12] == 0x86 && b[13] == 0xdd }

// at returns where a field stands in IPv4's and in IPv6's header.
func at(b []byte, ipv4, ipv6 int) int {
	if hasIPv6(b) {
		return 14 + ipv6
	}
	return 14 + ipv4
}

// afterIP is where the transport's header stands, without extension headers.
func afterIP(b []byte) int { return at(b, int(b[14]&15)*4, 40) }

// mutators change a frame of at least 34 bytes within the fuzzer's buffer.
var mutators = []func(f *fuzzer, b []byte) []byte{
	flipBits, flipBits, cut, cut, cut, lieAboutLength, lieAboutLength, setHeaderLength, addOptions, addOptions, setFragment, setTTL,
	setMartian, setPorts, setPorts, setFlags, setProtocol, dropChecksum, tag, nest, cutQuote, setType, stray, setTOS,
	wrapByFront, wrapByFront,
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
	binary.BigEndian.PutUint16(b[at(b, 2, 4):], uint16(length))
	return b
}

func setHeaderLength(f *fuzzer, b []byte) []byte {
	if hasIPv6(b) {
		b[14] = byte(f.IntN(16))<<4 | b[14]&15
		return b
	}
	b[14] = 4<<4 | byte(f.IntN(16))
	return b
}

// addOptions makes the header longer: with options, or extension headers.
func addOptions(f *fuzzer, b []byte) []byte {
	if hasIPv6(b) {
		return addExtensions(f, b)
	}
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

// addExtensions puts in one to nine headers.
func addExtensions(f *fuzzer, b []byte) []byte {
	for range 1 + f.IntN(choose(f, 2, 2, 9)) {
		units := choose(f, 0, 0, 0, 1, 3)
		b = addExtension(f, b, choose[byte](f, 0, 43, 60, 60, 44), units)
	}
	return b
}

func addExtension(f *fuzzer, b []byte, kind byte, units int) []byte {
	bytes := 8 * (1 + units)
	if kind == 44 {
		bytes = 8
	}
	if len(b) < 54 || len(b)+bytes > len(f.buf) {
		return b
	}
	b = b[:len(b)+bytes]
	copy(b[54+bytes:], b[54:])
	clear(b[54 : 54+bytes])
	b[54], b[55] = b[20], byte(units)
	if kind == 44 {
		binary.BigEndian.PutUint16(b[56:], choose[uint16](f, 0, 1, 8, 9, 0xfff8))
	}
	b[20] = kind
	binary.BigEndian.PutUint16(b[18:], binary.BigEndian.Uint16(b[18:])+uint16(bytes))
	return b
}

func setFragment(f *fuzzer, b []byte) []byte {
	if hasIPv6(b) {
		return addExtension(f, b, 44, 0)
	}
	binary.BigEndian.PutUint16(b[20:], choose[uint16](f, 0x2000, 1, 0x2001, 0x4000, 0x8000, 0, uint16(f.Uint32())))
	return b
}

func setTTL(f *fuzzer, b []byte) []byte {
	b[at(b, 8, 7)] = byte(f.IntN(3))
	return b
}

func setMartian(f *fuzzer, b []byte) []byte {
	if hasIPv6(b) && len(b) >= 54 {
		copy(b[22+16*f.IntN(2):], martians6[f.IntN(len(martians6))])
		return b
	}
	copy(b[26+4*f.IntN(2):34], choose(f, "\x00\x00\x00\x00", "\x00\x01\x02\x03", "\x7f\x00\x00\x01", "\xe0\x00\x00\x01",
		"\xff\xff\xff\xff", "\x0a\x00\x00\x50", "\x0a\x00\x00\x51", "\xc0\xa8\x01\x0b", "\xac\x10\x00\x05"))
	return b
}

// martians6 are addresses that nobody has, and some that others have.
var martians6 = func() (bytes [][]byte) {
	for _, text := range []string{"::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.80", "::ffff:172.16.0.5", "::10.0.0.80",
		"2001:db8::80", "2001:db8::81", "2001:db8:1::11", "2001:db8:c::16:0:5", "::ffff:192.168.1.1", "::ffff:172.16.255.2"} {
		bytes = append(bytes, netip.MustParseAddr(text).AsSlice())
	}
	return bytes
}()

func setPorts(f *fuzzer, b []byte) []byte {
	at := afterIP(b) + 2*f.IntN(2)
	if at+2 <= len(b) {
		binary.BigEndian.PutUint16(b[at:], choose[uint16](f, 0, 65535, 20, 80, 8080, 53, uint16(40000+f.IntN(50)), uint16(f.Uint32())))
	}
	return b
}

func setFlags(f *fuzzer, b []byte) []byte {
	if at := afterIP(b) + 12; at+2 <= len(b) {
		b[at], b[at+1] = byte(f.Uint32()), byte(f.Uint32())
	}
	return b
}

func setProtocol(f *fuzzer, b []byte) []byte {
	b[at(b, 9, 6)] = choose[byte](f, 1, 4, 6, 17, 41, 47, 58, 59, 132, byte(f.Uint32()))
	return b
}

func dropChecksum(_ *fuzzer, b []byte) []byte {
	check := afterIP(b) + 6
	if b[at(b, 9, 6)] == 6 {
		check += 10
	}
	if check+2 <= len(b) {
		b[check], b[check+1] = 0, 0
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
	header := at(b, 20, 40) - 14
	if len(b) < 14+header || len(b)+header > len(f.buf) {
		return b
	}
	b = b[:len(b)+header]
	copy(b[14+header:], b[14:])
	if hasIPv6(b) {
		b[20] = 41
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
		return b
	}
	b[14], b[23] = 0x45, 4
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
	return b
}

// cutQuote leaves up to 28 bytes of what an ICMP error is about.
func cutQuote(f *fuzzer, b []byte) []byte {
	end := afterIP(b) + 8 + f.IntN(29)
	if b[at(b, 9, 6)] != byte(at(b, 1, 58)-14) || end > len(b) {
		return b
	}
	binary.BigEndian.PutUint16(b[at(b, 2, 4):], uint16(end-at(b, 0, 40)))
	return b[:end]
}

func setType(f *fuzzer, b []byte) []byte {
	if at := afterIP(b); at+2 <= len(b) && (b[23] == 1 || b[20] == 58) {
		b[at], b[at+1] = choose[byte](f, 0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 127, 128, byte(f.Uint32())), byte(f.IntN(16))
	}
	return b
}

// stray makes it be for somebody else.
func stray(f *fuzzer, b []byte) []byte {
	b[f.IntN(6)] ^= byte(1 + f.IntN(255))
	return b
}

func setTOS(f *fuzzer, b []byte) []byte {
	if hasIPv6(b) {
		b[14] = 0x60 | byte(f.Uint32())&15
	}
	b[15] = byte(f.Uint32())
	return b
}
