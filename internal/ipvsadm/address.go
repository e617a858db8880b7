// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// number reads a decimal number as strtol does, with leading space and sign, and
// nothing after it.
func number(s string, least, most int64) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " \t\n\v\f\r"), 10, 64)
	return n, err == nil && n >= least && n <= most
}

// atoi reads the number at the start of s, 0 if there is none, as C's atoi does.
func atoi(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64)
	return n
}

// inetAton reads an IPv4 address in all forms that C's inet_aton takes: one to
// four parts, the last filling what is left, in decimal, octal (0...) or
// hexadecimal (0x...), white space after it.
func inetAton(s string) (netip.Addr, bool) {
	if i := strings.IndexAny(s, " \t\n\v\f\r"); i >= 0 {
		s = s[:i]
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var addr uint64
	for i, part := range parts {
		n, ok := cNumber(part)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if !ok || n >= 1<<bits {
			return netip.Addr{}, false
		}
		addr = addr<<bits | n
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(addr))
	return netip.AddrFrom4(b), true
}

// cNumber reads a number with C's prefixes 0 and 0x.
func cNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil
}

// address reads "host", "host:port" or "[IPv6]:port". An IPv6 address without
// brackets is all address and has no port. hasPort tells whether a port was given.
//
// A number alone is none: ipvsadm refuses "-r 1" though inet_aton would take it.
func (n *names) address(s string, proto ipvs.Protocol) (addr netip.AddrPort, hasPort, ok bool) {
	if strings.Trim(s, "0123456789") == "" {
		return addr, false, false
	}
	host, port := s, ""
	if s[0] == '[' {
		host, port, ok = strings.Cut(s[1:], "]")
		if !ok || !strings.HasPrefix(port, ":") {
			return addr, false, false
		}
	}
	if strings.Count(host, ":") > 1 {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && ip.Zone() == "" {
			return n.join(ip, port, proto)
		}
	}
	port = "" // as ipvsadm: brackets around anything else lose what follows them
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port = host[:i], host[i:]
	}
	ip, ok := inetAton(host)
	if !ok {
		ip, ok = n.lookup(host)
	}
	if !ok {
		return addr, false, false
	}
	return n.join(ip, port, proto)
}

// join adds the port in ":port", a number or the name of a service.
func (n *names) join(ip netip.Addr, port string, proto ipvs.Protocol) (addr netip.AddrPort, hasPort, ok bool) {
	if port == "" {
		return netip.AddrPortFrom(ip, 0), false, true
	}
	value, ok := number(port[1:], 0, 65535)
	if !ok {
		value, ok = n.port(port[1:], proto)
	}
	return netip.AddrPortFrom(ip, uint16(value)), true, ok
}
