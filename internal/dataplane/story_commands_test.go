// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The commands of stories.

// defend looks for entries to drop, if that is so set.
func (s *story) defend() string { return fmt.Sprintf("defend %d", s.Uint32()) }

func (s *story) service() string {
	if s.IntN(20) == 0 {
		return "-t " + s.maker.of(addrPort(10, 0, 0, 99, 99)).String()
	}
	return pick(s, s.services...)
}

func (s *story) vip() netip.AddrPort {
	if s.likes.ftp && s.IntN(2) == 0 {
		return s.maker.of(addrPort(10, 0, 0, 80, 21))
	}
	return s.maker.of(addrPort(10, 0, 0, pick[byte](s, 80, 80, 80, 81), pick[uint16](s, 80, 80, 80, 443, 21, 0)))
}

// target is where a client's packet goes: mostly to a service.
func (s *story) target() (proto string, vip netip.AddrPort) {
	if s.IntN(20) == 0 {
		return pick(s, protocols...), s.maker.of(addrPort(10, 0, 0, pick[byte](s, 80, 81, 82), pick[uint16](s, 80, 81, 0, 65535)))
	}
	words := strings.Fields(pick(s, s.services...))
	if words[0] == "-f" {
		return pick(s, protocols...), s.vip()
	}
	vip = netip.MustParseAddrPort(words[1])
	if vip.Port() == 0 || vip.Port() == 21 && s.IntN(2) == 0 {
		vip = netip.AddrPortFrom(vip.Addr(), pick[uint16](s, 80, 443, 20, 2000, 0))
	}
	return map[string]string{"-t": "tcp", "-u": "udp", "--sctp-service": "sctp"}[words[0]], vip
}

func (s *story) client() netip.AddrPort {
	port := pick[uint16](s, 40000, 40001, 40002, 40003, 40004, 40005, 40006, 40007, 20, 65535)
	return s.maker.of(addrPort(172, 16, pick[byte](s, 0, 0, 1), byte(s.IntN(4)), port))
}

// server is one of few; wayTo says what is the matter with some.
func (s *story) server() netip.AddrPort {
	if s.likes.local && s.IntN(2) == 0 {
		return s.maker.of(addrPort(192, 168, 1, 22, pick[uint16](s, 80, 8080, 0)))
	}
	return s.maker.of(addrPort(192, 168, 1, pick[byte](s, 11, 11, 11, 12, 12, 12, 13, 13, 14, 15, 16, 21, 22, 22, 23, 24, 25), pick[uint16](s, 80, 80, 80, 8080, 0)))
}

// loopbackServer serves the director's own clients alone.
func (s *story) loopbackServer() netip.AddrPort {
	if s.maker.ipv6 {
		return netip.AddrPortFrom(netip.IPv6Loopback(), 80)
	}
	return addrPort(127, 0, 0, 1, 80)
}

func (s *story) addService() string {
	service := pick(s, "-t ", "-t ", "-t ", "-u ", "-u ", "--sctp-service ") + s.vip().String()
	if s.IntN(5) == 0 {
		service = fmt.Sprintf("-f %d", 1+s.IntN(2))
		if s.maker.ipv6 {
			service += " -6"
		}
		s.next = []string{s.addMark()}
	}
	s.services = append(s.services, service)
	return "ipvsadm -A " + service + s.serviceOptions(service)
}

func (s *story) editService() string {
	service := s.service()
	return "ipvsadm -E " + service + s.serviceOptions(service)
}

func (s *story) deleteService() string {
	service := s.service()
	s.services = slices.DeleteFunc(s.services, func(other string) bool { return other == service })
	return "ipvsadm -D " + service
}

func (s *story) serviceOptions(service string) string {
	scheduler := pick(s, "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "dh", "sh", "mh", "twos", "lblc", "lblcr")
	options := " -s " + scheduler
	if scheduler == "sh" || scheduler == "mh" {
		options += pick(s, "", " -b "+scheduler+"-port", " -b "+scheduler+"-fallback", " -b "+scheduler+"-port,"+scheduler+"-fallback")
	}
	if service[1] == 'u' && s.IntN(3) == 0 {
		options += " -o"
	}
	if strings.HasSuffix(service, ":0") || s.IntN(3) == 0 { // ipvsadm wants it for port 0
		options += fmt.Sprintf(" -p %d", pick(s, 10, 60, 100, 360))
		if s.IntN(3) == 0 {
			options += " -M " + s.mask()
		}
		if service[1] != 't' && s.IntN(3) == 0 {
			options += " --pe sip"
		}
	}
	return options
}

func (s *story) mask() string {
	if s.maker.ipv6 {
		return pick(s, "112", "96", "64", "127")
	}
	return pick(s, "255.255.255.0", "255.255.0.0", "255.255.255.254")
}

func (s *story) addDestination() string {
	server, method := s.server(), s.method()
	if s.IntN(12) == 0 { // of the other family, perhaps
		server, method = maker{s.Rand, s.IntN(2) == 0}.of(addrPort(192, 168, 1, 17, 80)), "-i"
	} else if s.IntN(20) == 0 {
		server, method = s.loopbackServer(), "-m"
	}
	destination := fmt.Sprintf("%s -r %s", s.service(), server)
	s.servers = append(s.servers, destination)
	return "ipvsadm -a " + destination + " " + method + s.destinationOptions()
}

func (s *story) editDestination() string {
	return "ipvsadm -e " + pick(s, s.servers...) + " " + s.method() + s.destinationOptions()
}

// deleteDestination lets it be added again.
func (s *story) deleteDestination() string {
	return "ipvsadm -d " + pick(s, s.servers...)
}

func (s *story) method() string {
	method := pick(s, "-m", "-m", "-m", "-m", "-g", "-g", "-i", "-i")
	if method == "-i" && s.IntN(2) == 0 {
		method += pick(s, " --tun-type gre", " --tun-type gre --tun-csum", " --tun-type gue --tun-port 6080", " --tun-type gue --tun-port 6081 --tun-csum",
			" --tun-type gue --tun-port 6080 --tun-remcsum")
	}
	return method
}

func (s *story) destinationOptions() string {
	options := fmt.Sprintf(" -w %d", pick(s, 0, 1, 1, 1, 2, 3, 5, 10, 100))
	if s.IntN(4) == 0 {
		options += fmt.Sprintf(" -x %d -y %d", 1+s.IntN(6), s.IntN(2))
	}
	return options
}

func (s *story) rareCommand() string {
	switch s.IntN(21) {
	case 19:
		return "set drop_entry " + pick(s, "0", "3", "3")
	case 18:
		return fmt.Sprintf("set cache_bypass %d", s.IntN(2))
	case 16:
		return fmt.Sprintf("set am_droprate %d", 1+s.IntN(4))
	case 17:
		return "set drop_packet " + pick(s, "0", "3")
	case 15:
		return fmt.Sprintf("set expire_nodest_conn %d", s.IntN(2))
	case 3:
		return fmt.Sprintf("set conn_reuse_mode %d", s.IntN(4))
	case 4:
		return fmt.Sprintf("set sloppy_tcp %d", s.IntN(2))
	case 8:
		return fmt.Sprintf("set nat_icmp_send %d", s.IntN(2))
	case 11:
		return fmt.Sprintf("fronts %d", s.IntN(2))
	case 9:
		return fmt.Sprintf("icmp-limit %d %d", pick(s, 0, 1, 10, 100), s.IntN(8))
	case 7:
		return fmt.Sprintf("set sloppy_sctp %d", s.IntN(2))
	case 10:
		return fmt.Sprintf("set schedule_icmp %d", s.IntN(2))
	case 5:
		return fmt.Sprintf("set expire_quiescent_template %d", s.IntN(2))
	case 6:
		return "set secure_tcp " + pick(s, "0", "3")
	case 0:
		return "ipvsadm -Z"
	case 1:
		return "ipvsadm -Z " + s.service()
	case 2:
		s.services = nil
		return "ipvsadm -C"
	}
	return fmt.Sprintf("ipvsadm --set %d %d %d", pick(s, 0, 10, 100, 900), pick(s, 0, 5, 120), pick(s, 0, 20, 300))
}

// ownCommand is one that ipvsadm has not.
func (s *story) ownCommand() string {
	switch s.IntN(6) {
	case 0, 1:
		return s.mark()
	case 2, 3:
		return "lvsx service set " + s.service() + s.serviceSettings()
	}
	return "lvsx connections kill" + s.filter()
}

func (s *story) serviceSettings() string {
	options := pick(s, "", " --removed silent", " --removed reset", " --removed reset", " --removed move", " --removed move")
	for _, name := range []string{"tcp", "fin", "udp"} {
		if s.IntN(4) == 0 {
			options += fmt.Sprintf(" --timeout-%s %d", name, pick(s, 0, 5, 50, 500, 2000))
		}
	}
	return options
}

// mark adds a rule or deletes one.
func (s *story) mark() string {
	if s.IntN(4) == 0 {
		return "lvsx mark del" + s.marked()
	}
	return s.addMark()
}

func (s *story) addMark() string {
	return fmt.Sprintf("lvsx mark add%s --mark %d", s.marked(), 1+s.IntN(2))
}

// marked is what a rule marks.
func (s *story) marked() string {
	vip := s.vip().Addr().String()
	if s.IntN(3) == 0 {
		network, _ := s.vip().Addr().Prefix(s.vip().Addr().BitLen() - 4)
		vip = network.String()
	}
	return " --vip " + vip + pick(s, "", "", " --proto tcp", " --proto udp", " --proto sctp") +
		pick(s, "", " --ports 80", " --ports 80", " --ports 0-100", " --ports 80-443", " --ports 1024-65535")
}

// filter chooses connections, all if it is empty.
func (s *story) filter() string {
	f := s.flow()
	return pick(s, "", " --client "+f.client.String(), " --client "+f.client.Addr().String(), " --server "+f.server.Addr().String(),
		" --vip "+f.vip.String(), " --state "+pick(s, "ESTABLISHED", "SYN_RECV", "UDP", "KILLED"))
}
