// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"strings"
	"unicode"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// The bytes of a datagram that are looked through (docs/ipvsadm.md), and of a
// Call-ID (IP_VS_PEDATA_MAXLEN).
const (
	sipBytes  = 4096
	callBytes = 255
)

const udpHeader = 8

// callID is a datagram's call, as the engine sip finds it; "" if it does not
// (ip_vs_pe_sip.c: get_callid).
func callID(p *packet) string {
	if p.proto != ipvs.UDP {
		return ""
	}
	b := p.payload()[udpHeader:]
	s := string(b[:min(len(b), sipBytes)])
	from := 0
	for {
		at, length, found := findCallID(s, from)
		switch {
		case !found:
			return ""
		case length == 0: // it goes on as far behind as this value is from the beginning
			from += at
		case length > callBytes, at+length == len(s), !isLineEnd(s[at+length]):
			return ""
		default:
			return s[at : at+length]
		}
	}
}

// findCallID looks for the header from a place on; its value may be none
// (nf_conntrack_sip.c: ct_sip_get_header).
func findCallID(s string, from int) (at, length int, found bool) {
	for i := from; i < len(s); i++ {
		if !isLineEnd(s[i]) {
			continue
		}
		if i = skipLineEnd(s, i); i >= len(s) {
			return 0, 0, false
		}
		name := callIDName(s[i:])
		if name == 0 {
			continue
		}
		if i = skipSpace(s, i+name); i < 0 || i+1 >= len(s) || s[i] != ':' {
			return 0, 0, false
		}
		if i = skipSpace(s, i+1); i < 0 {
			return 0, 0, false
		}
		return i, valueLength(s[i:]), true
	}
	return 0, 0, false
}

// callIDName is the length of the header's name at a line's beginning. The short
// one is not the beginning of another.
func callIDName(line string) int {
	const long, short = "Call-ID", "i"
	switch {
	case len(line) >= len(long) && strings.EqualFold(line[:len(long)], long):
		return len(long)
	case len(line) > len(short) && strings.EqualFold(line[:1], short) && !isLetter(line[1]):
		return len(short)
	}
	return 0
}

// skipSpace returns where the next character is, perhaps on a line that goes on
// with this one; -1 if there is none.
func skipSpace(s string, i int) int {
	for ; i < len(s) && isBlank(s[i]); i++ {
	}
	if i >= len(s) || !isLineEnd(s[i]) {
		return i
	}
	if i = skipLineEnd(s, i); i >= len(s) || !isBlank(s[i]) {
		return -1
	}
	for ; i < len(s) && isBlank(s[i]); i++ {
	}
	return i
}

func skipLineEnd(s string, i int) int {
	if i+1 < len(s) && s[i:i+2] == "\r\n" {
		return i + 2
	}
	return i + 1
}

// valueLength is that of a word, or of two with an @ between them (callid_len).
func valueLength(s string) int {
	word := wordLength(s)
	if word == 0 || word == len(s) || s[word] != '@' {
		return word
	}
	domain := wordLength(s[word+1:])
	if domain == 0 {
		return 0
	}
	return word + 1 + domain
}

func wordLength(s string) (n int) {
	for ; n < len(s) && (isLetter(s[n]) || strings.IndexByte("0123456789!\"%'()*+-./:<>?[\\]_`{}~", s[n]) >= 0); n++ {
	}
	return n
}

// isLetter goes by Latin-1, as the kernel does.
func isLetter(c byte) bool {
	return unicode.IsLetter(rune(c)) && c != 0xaa && c != 0xb5 && c != 0xba
}

func isBlank(c byte) bool   { return c == ' ' || c == '\t' }
func isLineEnd(c byte) bool { return c == '\r' || c == '\n' }
