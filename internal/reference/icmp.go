// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// complaint is an ICMP error: type and code of IPv4 (RFC 792) and of IPv6
// (RFC 4443).
type complaint struct{ kind4, code4, kind6, code6 byte }

var (
	portUnreachable = complaint{3, 3, 1, 4}
	hostUnreachable = complaint{3, 1, 1, 3}
	timeExceeded    = complaint{11, 0, 3, 0}
	packetTooBig    = complaint{3, 4, 2, 0}
)

// answer sends an ICMP error to who sent the packet, from where it was sent to
// (icmp_send, icmpv6_send).
func (d *Director) answer(p *packet, v Verdict, c complaint, mtu int) Outcome {
	if !d.mayComplain() {
		return Outcome{Verdict: Unanswered}
	}
	d.complain(p.ip, p.from(), c, mtu)
	return Outcome{Verdict: v, Frame: d.out, NewHeader: true}
}

// mayComplain takes one error from those that may be sent in a second
// (icmp_global_allow). Path MTU discovery asks nobody.
func (d *Director) mayComplain() bool {
	rate, burst := d.Settings.ICMPRate, d.Settings.ICMPBurst
	return rate == 0 || d.take(&d.errors, rate, burst)
}

// credit is what may be done only so often.
type credit struct {
	left uint64
	at   uint64 // when it became more
}

// take takes one from a credit of so many in a second, and so many at once.
func (d *Director) take(c *credit, rate, burst uint32) bool {
	second := uint64(d.Ticks(time.Second))
	if more := min(d.now-c.at, second) * uint64(rate) / second; more > 0 {
		*c = credit{min(c.left+more, uint64(burst)), d.now}
	}
	if c.left == 0 {
		return false
	}
	c.left--
	return true
}

// complain makes the frame of an error about a packet, from where it was sent to.
func (d *Director) complain(about []byte, to MAC, c complaint, mtu int) {
	d.complainFrom(addressAt(destination.address(about)), about, to, c, mtu)
}

func (d *Director) complainFrom(from netip.Addr, about []byte, to MAC, c complaint, mtu int) {
	kind, code, header, room := c.kind4, c.code4, 20, 576
	if is6(about) {
		kind, code, header, room = c.kind6, c.code6, 40, 1280
	}
	quote := about[:min(len(about), room-header-icmpHeader)]
	d.startFrame(to, about)
	d.out = append(d.out, make([]byte, header)...)
	d.out = append(d.out, kind, code, 0, 0, 0, 0, byte(mtu>>8), byte(mtu))
	d.out = append(d.out, quote...)
	ip := d.out[ethernetHeader:]
	if is6(about) {
		ip[0], ip[6], ip[7] = 0x60, byte(protoICMPv6), 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-header))
	} else {
		ip[0], ip[1], ip[8], ip[9] = 0x45, about[1]&0x1e|0xc0, 64, byte(protoICMP)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	}
	copy(source.address(ip), from.AsSlice())
	copy(destination.address(ip), source.address(about))
	if !is6(about) {
		setChecksum(ip[:header], 10)
	}
	setICMPChecksum(ip, ip[header:])
}
