// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// The header in front of an SCTP packet's chunks, and that of a chunk (RFC 9260,
// section 3).
const (
	sctpHeader  = 12
	chunkHeader = 4
)

// The types of chunks that move a connection on, besides those that are like data.
const (
	chunkInit       = 1
	chunkAbort      = 6
	chunkCookieEcho = 10
	chunkCookieAck  = 11
)

// sctpColumns are the columns of sctpStates by type of chunk; the rest is 0.
var sctpColumns = map[byte]int{chunkInit: 1, 2: 2, chunkCookieEcho: 3, chunkCookieAck: 4, 7: 5, 8: 6, 14: 7, 9: 8, chunkAbort: 9}

// chunkAt returns the type and the length of the chunk that begins at a byte of a
// packet.
func chunkAt(l4 []byte, at int) (kind byte, length int, ok bool) {
	if len(l4) < at+chunkHeader {
		return 0, 0, false
	}
	return l4[at], int(binary.BigEndian.Uint16(l4[at+2:])), true
}

// sctpEvent is the column of a packet's first chunk, or of an ABORT right behind a
// cookie (set_sctp_state); -1 if no chunk is there.
func sctpEvent(l4 []byte) int {
	kind, length, ok := chunkAt(l4, sctpHeader)
	if !ok {
		return -1
	}
	if (kind == chunkCookieEcho || kind == chunkCookieAck) && length >= chunkHeader {
		padded := (length + 3) / 4 * 4
		if next, _, ok := chunkAt(l4, sctpHeader+padded); ok && next == chunkAbort {
			kind = next
		}
	}
	return sctpColumns[kind]
}

// beginsSCTP tells whether a packet may begin a connection (sctp_conn_schedule).
func beginsSCTP(l4 []byte, sloppy bool) bool {
	kind, _, ok := chunkAt(l4, sctpHeader)
	return ok && (kind == chunkInit || sloppy && kind != chunkAbort)
}

// isInit tells whether a packet asks for a connection (is_sctp_init in
// is_new_conn).
func isInit(p *packet) bool {
	kind, _, ok := chunkAt(p.payload(), sctpHeader)
	return p.proto == ipvs.SCTP && ok && kind == chunkInit
}

// setSCTPChecksum computes it (RFC 9260, appendix A). It is not over addresses.
func setSCTPChecksum(l4 []byte) {
	clear(l4[8:12])
	binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
}

// setSCTPPort changes a port, and then makes the checksum anew, which is right
// then whatever it was (sctp_dnat_handler, sctp_snat_handler), unless there is none:
// in a fragment, or where the stack makes it.
func setSCTPPort(l4, port []byte, at int, none bool) {
	if [2]byte(l4[at:]) == [2]byte(port) {
		return
	}
	copy(l4[at:], port)
	if !none {
		setSCTPChecksum(l4)
	}
}

// keepsPorts tells whether an SCTP packet's ports stay: with another port the
// checksum is another, and a fragment has not all that it is over. ok is false if
// nobody knows which of two connections it is about.
func (d *Director) keepsPorts(p *packet) (keeps, ok bool) {
	c := d.conns.in[flow{p.proto, p.src, p.dst}]
	if c == nil {
		var ambiguous bool
		if c, ambiguous = d.conns.findReply(flow{p.proto, p.dst, p.src}); ambiguous {
			return false, false
		}
	}
	return c != nil && (c.method != ipvs.Masq || c.server.Port() == c.virtual.Port()), true
}

// sctpStates is sctp_states of ip_vs_proto_sctp.c. The columns of each direction
// are DATA, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN, SHUTDOWN_ACK,
// SHUTDOWN_COMPLETE, ERROR and ABORT.
var sctpStates = readStates(10, Init1, "NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL", `
NO | ES I1 CW CR ES SR CL CL CL CL | ES CW CS CE ES SS SA CL CL CL | ES I1 CE ES ES SR CL CL CL CL
I1 | .  IN CW IN .  .  IN CL .  CL | .  CW CS CE ES SS SA .  CL RJ | .  IN CE ES .  .  IN CL .  CL
IN | .  .  CW .  .  .  .  CL .  CL | .  CW CS CE ES SS SA .  CL CL | .  .  CE ES .  .  .  CL .  CL
CS | .  .  .  CR .  .  .  .  .  CL | .  CW .  CE ES SS SA .  CL CL | .  IN CE ES ES .  .  CL .  CL
CR | .  .  .  .  .  .  .  .  .  CL | .  CW .  CE ES SS SA .  CL CL | .  IN CE ES ES .  .  CL .  CL
CW | .  .  CO .  .  .  .  .  .  RJ | .  .  .  CE ES SS .  .  .  CL | ES IN CE ES .  .  .  .  .  RJ
CO | .  .  .  .  .  .  .  .  .  CL | .  CW .  CE ES SS .  .  .  CL | .  .  .  .  ES .  .  .  .  CL
CE | .  .  .  .  ES .  .  .  CL CL | .  CW .  .  ES SS .  .  .  CL | .  .  .  .  ES .  .  .  .  CL
ES | .  .  .  .  .  SR .  .  .  CL | .  .  .  .  .  SS .  .  .  CL | .  .  .  .  .  SR CL .  .  CL
SS | .  .  .  .  .  .  CL .  .  CL | .  CW .  .  .  .  SA .  .  CL | .  .  .  .  .  .  CL .  .  CL
SR | .  .  .  .  .  .  .  .  .  CL | .  CW .  .  .  .  SA .  .  CL | .  .  .  .  .  .  .  CL .  CL
SA | .  .  .  .  .  .  CL CL .  CL | .  CW .  .  .  .  .  .  .  CL | .  .  .  .  .  .  CL CL .  CL
RJ | .  IN .  .  .  .  .  .  .  CL | .  CW .  .  .  .  .  .  .  CL | .  IN .  .  .  .  .  .  .  CL
CL | .  IN .  .  .  .  .  .  .  .  | .  CW .  .  .  .  .  .  .  .  | .  IN .  .  .  .  .  .  .  .
`)
