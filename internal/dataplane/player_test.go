// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// player is a trace under way.
type player struct {
	*bench
	forward string
	flows   map[int]playedFlow
	dice    *rand.Rand // nil unless the trace was recorded of a scheduler that throws dice
}

type playedFlow struct {
	client, vip netip.AddrPort
	server      netip.AddrPort
}

func (p *player) play(s traceStep) string {
	switch s.Op {
	case "open", "syn", "udp":
		return p.open(s)
	case "tcp-flags":
		return p.sendFlags(s)
	case "data":
		f := p.flows[s.ID]
		if p.dice != nil {
			return "" // the server that is gone in the recording may not be this flow's
		}
		return p.expect(s, f, p.send(clientMAC, tcp(f.client, f.vip, "PA", 'x')))
	case "close":
		return p.closeFlow(p.flows[s.ID], s.How)
	case "ipvsadm":
		out := p.ipvsadm(s.Args)
		p.resolve()
		if p.dice != nil {
			return diffShares(s.Stdout, out)
		}
		return diffListing(s.Args, s.Stdout, out, timerTolerance)
	case "sysctl":
		return p.sysctl(s.Name, s.Value)
	case "sleep":
		p.pass(time.Duration(s.Seconds) * time.Second)
		p.ageAll()
		return ""
	}
	return "no such step is built"
}

// open sends the first packet and, if a server got it, shakes hands.
func (p *player) open(s traceStep) string {
	f := playedFlow{client: netip.AddrPortFrom(s.Src, s.Sport), vip: netip.AddrPortFrom(s.Dst, s.Dport)}
	first := tcp(f.client, f.vip, "S")
	if s.Op == "udp" {
		first = udp(f.client, f.vip, 'x')
	}
	o := p.send(clientMAC, first)
	if p.dice != nil && s.Server != nil {
		s = p.draw(s, o)
	}
	if wrong := p.expect(s, f, o); wrong != "" || s.Server == nil {
		return wrong
	}
	f.server = netip.MustParseAddrPort(*s.Server)
	p.flows[s.ID] = f
	if s.Op != "open" {
		return ""
	}
	return p.exchange(f, "<SA", ">A")
}

// sendFlags sends one segment with those flags.
func (p *player) sendFlags(s traceStep) string {
	f := playedFlow{client: netip.AddrPortFrom(s.Src, s.Sport), vip: netip.AddrPortFrom(s.Dst, s.Dport)}
	var flags string
	for name := range strings.SplitSeq(s.Flags, "-") {
		if name != "none" {
			flags += strings.ToUpper(name[:1])
		}
	}
	o := p.send(clientMAC, tcp(f.client, f.vip, flags))
	if strings.Contains(flags, "R") && o.action == xdpPass && s.Reply == "none" {
		return "" // nobody answers a reset
	}
	return p.expect(s, f, o)
}

// closeFlow ends a connection. With DR and TUN the director sees only what the
// client says of it.
func (p *player) closeFlow(f playedFlow, how string) string {
	switch how {
	case "fin":
		return p.exchange(f, ">FA", "<FA", ">A")
	case "server-fin":
		return p.exchange(f, "<FA", ">FA", "<A")
	}
	return p.exchange(f, ">R")
}

// exchange sends segments of a flow, > from the client and < from the server.
func (p *player) exchange(f playedFlow, segments ...string) string {
	for _, s := range segments {
		if s[0] == '>' {
			got := p.server(p.send(clientMAC, tcp(f.client, f.vip, s[1:])))
			if got != f.server.String() {
				return fmt.Sprintf("client's %s went to %s, want %s", s[1:], got, f.server)
			}
			continue
		}
		if p.forward != "nat" {
			continue
		}
		o := p.send(serverMAC(numberOf(f.server.Addr())), tcp(f.server, f.client, s[1:]))
		if o.mac.String() != clientMAC.String() || broken(o.ip) != "" {
			return fmt.Sprintf("server's %s: %s %s", s[1:], o.verdict, broken(o.ip))
		}
		if src, dst := endpoints(o.ip); src != f.vip || dst != f.client {
			return fmt.Sprintf("server's %s left from %s to %s", s[1:], src, dst)
		}
	}
	return ""
}

// expect says what is wrong with where a packet went.
func (p *player) expect(s traceStep, f playedFlow, o outcome) string {
	want := s.Reply
	if s.Server != nil {
		want = *s.Server
	}
	if got := p.server(o); got != want {
		return fmt.Sprintf("%s to %s: went to %s, want %s", f.client, f.vip, got, want)
	}
	return ""
}

// server names the real server that a packet was sent to, or the answer to it.
func (p *player) server(o outcome) string {
	switch {
	case o.verdict == "local":
		if wrong := p.refuseAsServer(o.ip); wrong != "" {
			return wrong
		}
		return "rst"
	case o.action == xdpPass:
		return "rst" // of the kernel's own stack
	case o.action == xdpDrop:
		return "none"
	case o.mac.String() == clientMAC.String():
		_, _, _, l4 := transportOf(o.ip)
		return fmt.Sprintf("icmp-%d-%d", l4[0], l4[1])
	case broken(o.ip) != "":
		return "nobody: " + broken(o.ip)
	}
	number := o.mac[5]/16*10 + o.mac[5]%16
	_, dst := endpoints(o.ip)
	switch {
	case p.forward == "dr" && dst.Addr().Is6():
		return fmt.Sprintf("[2001:db8:1::%d]:%d", number, dst.Port())
	case p.forward == "dr":
		return fmt.Sprintf("192.168.1.%d:%d", number, dst.Port())
	case p.forward == "tun":
		_, _, _, packed := transportOf(o.ip)
		_, inner := endpoints(packed)
		return netip.AddrPortFrom(dst.Addr(), inner.Port()).String()
	}
	return dst.String()
}

// diffListing compares what ipvsadm printed: connections as a set, with timers
// to the tolerance.
func diffListing(args, want, got string, tolerance time.Duration) string {
	if strings.Contains(args, "-c") {
		return diffConns(want, got, tolerance)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return "ipvsadm " + args + " (-want +got):\n" + diff
	}
	return ""
}
