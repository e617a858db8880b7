// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsx/lvsx/internal/reference"
)

// story makes up steps and plays them.
type story struct {
	*rand.Rand
	p        *pair
	lines    []string
	next     []string        // steps that are due
	services []string        // as ipvsadm's options
	servers  []string        // with their services, the same
	flows    []toldFlow      // of NAT
	known    []toldFlow      // the latest that were sent to a server
	served   []toldFlow      // of servers on the director
	tellers  map[string]bool // clients that were told of data connections, or told of some
	maker    maker           // knows the family
}

// toldFlow is a connection that was seen to be sent on by NAT.
type toldFlow struct {
	proto               string
	client, vip, server netip.AddrPort
	own                 bool // the client is on the director
}

// from puts in front of a packet that its sender is on the director.
func (f toldFlow) from(own bool, packet string) string {
	if own {
		return "out " + packet
	}
	return packet
}

// protocols are those of services, as scripts call them.
var protocols = []string{"tcp", "udp", "sctp"}

func newStory(p *pair, r *rand.Rand) *story {
	p.empty()
	s := &story{Rand: r, p: p, tellers: make(map[string]bool), maker: maker{r, r.IntN(3) == 0}}
	switch r.IntN(8) {
	case 0:
		s.next = s.beginElsewhere()
	case 1, 2, 3:
		s.next = []string{"set drop_entry 3"}
	}
	return s
}

// beginElsewhere are the steps by which a mark's packets may go on to where they
// were sent.
func (s *story) beginElsewhere() []string {
	vip, service := s.maker.ofAddr(tunnelVIP.Addr()), "-f 3"
	if s.maker.ipv6 {
		service += " -6"
	}
	if s.IntN(4) == 0 { // it may get real servers
		s.services = append(s.services, service)
	}
	return []string{
		"set cache_bypass 1", "ipvsadm -A " + service + s.serviceOptions(service), fmt.Sprintf("lvsx mark add --vip %s --mark 3", vip),
	}
}

// tell plays steps until one goes wrong.
func (s *story) tell() string {
	for range 1 + s.IntN(sequenceSteps) {
		line := s.sparingTellers(s.step())
		s.lines = append(s.lines, line)
		if wrong := s.play(line); wrong != "" {
			return wrong
		}
	}
	return s.p.end()
}

// sparingTellers lets no control connection begin anew that told of data
// connections: whether the new one counts as their teller depends on its place in
// the table, which the model has none of.
func (s *story) sparingTellers(line string) string {
	words, out := cutOut(strings.Fields(line))
	if words[0] != "tcp" {
		return line
	}
	if strings.Contains(line, " say ") {
		client := words[2]
		if strings.HasSuffix(client, ":21") { // the VIP
			client = words[1]
		}
		s.tellers[client] = true
	} else if s.tellers[words[1]] && strings.Contains(words[3], "S") {
		words[3] = "A"
	}
	return toldFlow{}.from(out, strings.Join(words, " "))
}

// play notes where packets went, to have servers answer them.
func (s *story) play(line string) string {
	words, own := cutOut(strings.Fields(line))
	if !slices.Contains(protocols, words[0]) {
		return s.p.play(line)
	}
	verdict, wrong := s.p.send(strings.Fields(line))
	if wrong != "" {
		return wrong
	}
	f := toldFlow{proto: words[0], client: netip.MustParseAddrPort(words[1]), vip: netip.MustParseAddrPort(words[2]), own: own}
	switch {
	case s.p.left == nil: // a reply
		return ""
	case verdict == reference.MasqIn:
		_, f.server = endpoints(s.p.left[14:])
		s.flows = append(s.flows, f)
	case verdict == reference.Local:
		_, f.server = endpoints(s.p.left[14:])
		s.served = append(s.served[max(0, len(s.served)-7):], f)
	case verdict != reference.Tunnel && verdict != reference.Route:
		return ""
	}
	s.known = append(s.known[max(0, len(s.known)-7):], f)
	return ""
}

func pick[T any](s *story, from ...T) T {
	return from[s.IntN(len(from))]
}

// step makes up the next one. A story begins with services and servers.
func (s *story) step() string {
	switch {
	case len(s.next) > 0:
		line := s.next[0]
		s.next = s.next[1:]
		return line
	case len(s.services) == 0:
		return s.addService()
	case len(s.servers) < 2+len(s.lines)/20:
		return s.addDestination()
	}
	switch n := s.IntN(100); {
	case n < 2:
		return s.addService()
	case n < 4:
		return s.editService()
	case n == 4:
		return s.deleteService()
	case n < 9:
		return s.addDestination()
	case n < 12:
		return s.editDestination()
	case n < 14:
		return s.deleteDestination()
	case n == 14:
		return s.rareCommand()
	case n < 17:
		return s.ownCommand()
	case n < 22:
		if s.IntN(2) == 0 {
			s.next = []string{s.defend()}
		}
		return "wait " + pick(s, "1s", "1s", "3s", "9s", "30s", "61s", "121s", "301s", "1000s")
	case n == 22:
		return pick(s, s.defend(), fmt.Sprintf("dice %d", s.Uint32()))
	case n < 25:
		return "compare"
	case n < 28:
		return s.error()
	case n < 50 && len(s.flows) > 0:
		return s.answer()
	case n < 54 && len(s.flows) > 0:
		if line := s.talkFTP(); line != "" {
			return line
		}
	case n < 64 && s.p.BalancesLocal():
		return "out " + s.ownPacket()
	}
	return s.request()
}

// defend looks for entries to drop, if that is so set.
func (s *story) defend() string { return fmt.Sprintf("defend %d", s.Uint32()) }

func (s *story) service() string {
	if s.IntN(20) == 0 {
		return "-t " + s.maker.of(addrPort(10, 0, 0, 99, 99)).String()
	}
	return pick(s, s.services...)
}

func (s *story) vip() netip.AddrPort {
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

// request is a client's packet.
func (s *story) request() string {
	if len(s.known) > 0 && s.IntN(3) > 0 { // of a connection, if it was not the last packet's end
		f := pick(s, s.known...)
		return f.from(f.own, s.packet(f.proto, f.client, f.vip))
	}
	proto, vip := s.target()
	return s.packet(proto, s.client(), vip)
}

// ownPacket is one that the director itself sends: a real server's there, or a
// client's.
func (s *story) ownPacket() string {
	if len(s.served) > 0 && s.IntN(2) == 0 {
		f := pick(s, s.served...)
		return s.packet(f.proto, f.server, f.client)
	}
	proto, vip := s.target()
	return s.packet(proto, s.ownClient(), vip)
}

// ownClient has an address of the director's, which may be the VIP.
func (s *story) ownClient() netip.AddrPort {
	return s.maker.of(addrPort(10, 0, 0, pick[byte](s, 1, 1, 2, 80, 81), pick[uint16](s, 41000, 41001, 41002, 41003)))
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
	if len(s.flows) > 0 && s.IntN(8) > 0 {
		return s.flows[len(s.flows)-1-s.IntN(min(len(s.flows), 12))]
	}
	return toldFlow{proto: pick(s, protocols...), client: s.client(), vip: s.vip(), server: s.server()}
}

// answer is a real server's packet.
func (s *story) answer() string {
	f := s.flow()
	return s.packet(f.proto, f.server, f.client)
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
		return f.from(f.own, fmt.Sprintf("%s %s %s %s", head, f.client.Addr(), f.vip.Addr(), s.packet(f.proto, f.vip, f.client)))
	case 1:
		return fmt.Sprintf("%s %s %s %s", head, f.server.Addr(), f.client.Addr(), s.packet(f.proto, f.client, f.server))
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
		return fmt.Sprintf("tcp %s %s PA say 229_Mode_(|||%d|)", f.server, f.client, port)
	case 1, 2:
		if f.vip.Addr().Is4() {
			return fmt.Sprintf("tcp %s %s PA say %s", f.server, f.client, pick(s, "227_Mode_("+address+").", "227_"+address+".", "200_Mode_("+address+")"))
		}
	case 3:
		return fmt.Sprintf("tcp %s %s PA say EPRT_|1|%s|%d|", f.client, f.vip, f.client.Addr(), port)
	case 4:
		return fmt.Sprintf("tcp %s %s PA say PORT_1,2,3,4,%d,%d", f.client, f.vip, port>>8, port&255)
	case 5:
		return s.packet("tcp", at(f.client, pick[uint16](s, 40001, 5000)), at(f.vip, port))
	case 6:
		return s.packet("tcp", at(f.server, f.server.Port()-1), at(f.client, port))
	}
	return s.packet("tcp", at(f.client, port), at(f.vip, f.server.Port()-1))
}
