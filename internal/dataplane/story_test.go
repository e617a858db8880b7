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
	likes    likes
}

// toldFlow is a connection that was seen to be sent on.
type toldFlow struct {
	proto               string
	client, vip, server netip.AddrPort
	by                  sender // of the client's packets
	answers             sender // of the server's
}

// likes are what a story has more of than others, so that what is rare meets what
// else is.
type likes struct {
	local  bool // real servers on the director
	ftp    bool
	errors bool
}

// protocols are those of services, as scripts call them.
var protocols = []string{"tcp", "udp", "sctp"}

func newStory(p *pair, r *rand.Rand) *story {
	p.empty()
	s := &story{Rand: r, p: p, tellers: make(map[string]bool), maker: maker{r, r.IntN(3) == 0}}
	s.likes = likes{local: r.IntN(4) == 0, ftp: r.IntN(4) == 0, errors: r.IntN(4) == 0}
	switch r.IntN(8) {
	case 0:
		s.next = s.beginElsewhere()
	case 1, 2, 3:
		s.next = []string{"set drop_entry 3"}
	}
	if r.IntN(2) == 0 {
		s.next = append(s.next, "fronts 0")
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
	by, words := cutSender(strings.Fields(line))
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
	return by.put(strings.Join(words, " "))
}

// play notes where packets went, to have servers answer them.
func (s *story) play(line string) string {
	by, words := cutSender(strings.Fields(line))
	if !slices.Contains(protocols, words[0]) {
		return s.p.play(line)
	}
	verdict, wrong := s.p.send(strings.Fields(line))
	if wrong != "" {
		return wrong
	}
	f := toldFlow{proto: words[0], client: netip.MustParseAddrPort(words[1]), vip: netip.MustParseAddrPort(words[2]), by: by}
	if s.p.left == nil { // a reply
		return ""
	}
	_, f.server = endpoints(s.p.left[14:])
	switch verdict {
	case reference.MasqIn:
		s.flows = append(s.flows, f)
	case reference.Local:
		f.answers = bySelf
		s.served = append(s.served[max(0, len(s.served)-7):], f)
	case reference.Tunnel, reference.Route:
	default:
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
	if line := s.favourite(); line != "" {
		return line
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
		return bySelf.put(s.ownPacket())
	case n < 70:
		proto, vip := s.target()
		return byFronts.put(s.packet(proto, s.client(), vip))
	}
	return s.request()
}

// favourite is a packet that the story likes, or none.
func (s *story) favourite() string {
	switch s.IntN(8) {
	case 0:
		if s.likes.local && s.p.BalancesLocal() {
			return bySelf.put(s.ownPacket())
		}
	case 1:
		if s.likes.ftp {
			return s.talkFTP()
		}
	case 2:
		if s.likes.errors {
			return s.error()
		}
	}
	return ""
}
