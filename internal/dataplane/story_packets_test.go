// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
)

// The packets of stories.

// request is a client's packet.
func (s *story) request() string {
	if len(s.known) > 0 && s.IntN(3) > 0 { // of a connection, if it was not the last packet's end
		f := pick(s, s.known...)
		return f.by.put(s.packet(f.proto, f.client, f.vip))
	}
	proto, vip := s.target()
	return s.packet(proto, s.client(), vip)
}

// ownPacket is one that the director itself sends: a real server's there, an error
// about what that is sent, or a client's.
func (s *story) ownPacket() string {
	if len(s.served) > 0 && s.IntN(2) == 0 {
		f := pick(s, s.served...)
		if s.IntN(4) == 0 {
			return fmt.Sprintf("icmp %d %d 0 %s %s %s", pick(s, 3, 1), s.IntN(6), f.server.Addr(), f.client.Addr(), s.packet(f.proto, f.client, f.server))
		}
		return s.packet(f.proto, f.server, f.client)
	}
	proto, vip := s.target()
	return s.packet(proto, s.ownClient(), vip)
}

// ownClient has an address of the director's, which may be the VIP, or 127.0.0.1.
func (s *story) ownClient() netip.AddrPort {
	a := s.maker.of(addrPort(10, 0, 0, pick[byte](s, 1, 1, 2, 80, 81), pick[uint16](s, 41000, 41001, 41002, 41003)))
	if s.IntN(8) == 0 {
		return loopbackLike(a)
	}
	return a
}

// packet is one with any flags and extras.
func (s *story) packet(proto string, src, dst netip.AddrPort) string {
	line := fmt.Sprintf("%s %s %s", proto, src, dst)
	if proto == "tcp" {
		line += " " + pick(s, "S", "S", "S", "A", "A", "A", "PA", "FA", "FA", "R", "RA", "SA", "F", "-", "P", "SF", "SR", "FSRPA")
	}
	if proto == "sctp" {
		line += " " + pick(s, "1", "1", "1", "10", "10", "10,0", "2", "11", "0", "3", "4", "7", "8", "14", "9", "6", "10,6", "11,6", "0,6", "15", "192", "-")
	}
	if proto == "udp" && s.IntN(3) > 0 {
		line += fmt.Sprintf(" call %d", 1+s.IntN(3))
	}
	if s.IntN(8) == 0 {
		line += fmt.Sprintf(" length %d", pick(s, 1, 2, 100, 1240, 1241, 1432, 1460, 1461, 1472, 1473, 2000, 3000))
	}
	if s.IntN(16) == 0 {
		line += fmt.Sprintf(" ttl %d", s.IntN(3))
	}
	if s.IntN(8) == 0 {
		line += " nodf"
	}
	return line
}

func (s *story) flow() toldFlow {
	for _, flows := range [][]toldFlow{s.served, s.known} {
		if len(flows) > 0 && s.IntN(4) == 0 {
			return pick(s, flows...)
		}
	}
	if len(s.flows) > 0 && s.IntN(8) > 0 {
		return s.flows[len(s.flows)-1-s.IntN(min(len(s.flows), 12))]
	}
	return toldFlow{proto: pick(s, protocols...), client: s.client(), vip: s.vip(), server: s.server()}
}

// answer is a real server's packet.
func (s *story) answer() string {
	f := s.flow()
	return f.answers.put(s.packet(f.proto, f.server, f.client))
}

// error is an ICMP error about a connection, from its client's side or its
// server's, or about a tunnel packet.
func (s *story) error() string {
	f := s.flow()
	kind, directorsOwn := pick(s, 3, 3, 3, 4, 11, 8, 5, 12), directorAddress
	if f.vip.Addr().Is6() {
		kind, directorsOwn = pick(s, 1, 2, 3, 4, 127, 128), directorAddress6
	}
	head := fmt.Sprintf("icmp %d %d %d", kind, s.IntN(6), pick(s, 0, 68, 600, 1400, 1500))
	switch s.IntN(3) {
	case 0:
		return f.by.put(fmt.Sprintf("%s %s %s %s", head, f.client.Addr(), f.vip.Addr(), s.packet(f.proto, f.vip, f.client)))
	case 1:
		return f.answers.put(fmt.Sprintf("%s %s %s %s", head, f.server.Addr(), f.client.Addr(), s.packet(f.proto, f.client, f.server)))
	}
	return fmt.Sprintf("%s %s %s ipip %s", head, f.server.Addr(), directorsOwn, s.packet(f.proto, f.client, f.vip))
}

// talkFTP is what a client or a real server says on a control connection, or a
// packet of the data connection that it is about.
func (s *story) talkFTP() string {
	f := s.flow()
	if f.proto != "tcp" || f.vip.Port() != 21 {
		return ""
	}
	at := func(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }
	port := pick[uint16](s, 3000, 3001, 40001, 22)
	address := fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(f.server.Addr().String(), ".", ","), port>>8, port&255)
	switch s.IntN(8) {
	case 0:
		return f.answers.put(fmt.Sprintf("tcp %s %s PA say 229_Mode_(|||%d|)", f.server, f.client, port))
	case 1, 2:
		if f.vip.Addr().Is4() {
			return f.answers.put(fmt.Sprintf("tcp %s %s PA say %s", f.server, f.client, pick(s, "227_Mode_("+address+").", "227_"+address+".", "200_Mode_("+address+")")))
		}
	case 3:
		return fmt.Sprintf("tcp %s %s PA say EPRT_|1|%s|%d|", f.client, f.vip, f.client.Addr(), port)
	case 4:
		return fmt.Sprintf("tcp %s %s PA say PORT_1,2,3,4,%d,%d", f.client, f.vip, port>>8, port&255)
	case 5:
		return s.packet("tcp", at(f.client, pick[uint16](s, 40001, 5000)), at(f.vip, port))
	case 6:
		return f.answers.put(s.packet("tcp", at(f.server, f.server.Port()-1), at(f.client, port)))
	}
	return s.packet("tcp", at(f.client, port), at(f.vip, f.server.Port()-1))
}
