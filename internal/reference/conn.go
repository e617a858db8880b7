// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// flow names a connection by what its client sends.
type flow struct {
	proto   ipvs.Protocol
	client  netip.AddrPort
	virtual netip.AddrPort
}

// conn is a connection (struct ip_vs_conn).
type conn struct {
	flow
	server    netip.AddrPort
	dest      *dest
	method    ipvs.Forwarding // as it was when the connection began
	onePacket bool
	packets   int  // from the client, for drop_entry
	noOutput  bool // nothing seen of the server (IP_VS_CONN_F_NOOUTPUT)
	state     State
	expires   uint64 // at which tick
	mac       MAC    // who sent the first packet
	template  *template
	teller    *flow // of FTP's data: the control connection that told of it

	serverTold bool // that it is killed
}

// conns finds connections by what the client sends, and those of NAT by what
// their servers send.
type conns struct {
	in  map[flow]*conn
	out map[flow][]*conn // virtual is the server's address

	vips map[netip.Addr]int // how many connections each has
}

// reply is how the server's packets name the connection.
func (c *conn) reply() flow {
	return flow{c.proto, c.client, c.server}
}

// findReply finds the connection of a server's packet. Two connections may be
// the same from the server's side, if their clients are: which of them it is
// about nobody can know, and the kernel's and the datapath's guesses differ.
func (cs *conns) findReply(f flow) (c *conn, ambiguous bool) {
	switch all := cs.out[f]; len(all) {
	case 0:
		return nil, false
	case 1:
		return all[0], false
	}
	return nil, true
}

func (cs *conns) add(c *conn) {
	cs.in[c.flow] = c
	cs.vips[c.virtual.Addr()]++
	if c.method == ipvs.Masq {
		cs.out[c.reply()] = append(cs.out[c.reply()], c)
	}
}

func (cs *conns) remove(c *conn) {
	delete(cs.in, c.flow)
	cs.vips[c.virtual.Addr()]--
	if c.method != ipvs.Masq {
		return
	}
	rest := slices.DeleteFunc(cs.out[c.reply()], func(other *conn) bool { return other == c })
	if len(rest) == 0 {
		delete(cs.out, c.reply())
		return
	}
	cs.out[c.reply()] = rest
}

// choice is which server a new connection gets.
type choice struct {
	dest      *dest
	port      uint16 // of the server
	onePacket bool
	template  *template
	teller    *flow // of FTP's data, which is not scheduled
}

// firstTimeout is a connection's until a packet of it is seen.
const firstTimeout = 3 * time.Second

// begin makes a connection (ip_vs_conn_new).
func (d *Director) begin(f flow, to choice, mac MAC) *conn {
	c := &conn{flow: f, server: netip.AddrPortFrom(to.dest.RIP.Addr(), to.port), dest: to.dest, mac: mac}
	c.method, c.noOutput = to.dest.Forwarding, to.dest.Forwarding == ipvs.Tunnel || to.dest.Forwarding == ipvs.Route
	if to.dest == d.nowhere {
		c.server = nowhere(f.client.Addr())
	}
	c.onePacket = to.onePacket
	if to.teller != nil {
		c.method, c.noOutput, c.state, c.teller = ipvs.Masq, false, Listen, to.teller
	}
	c.expires = d.now + uint64(d.Ticks(firstTimeout))
	to.dest.bind()
	if !c.onePacket {
		d.conns.add(c)
	}
	if to.template != nil {
		c.control(to.template)
	}
	if to.teller == nil {
		to.dest.stats.Conns++
		to.dest.service.stats.Conns++
	}
	return c
}

// isFull tells whether there is no room for another connection or template.
func (d *Director) isFull() bool {
	return d.Room > 0 && len(d.conns.in)+len(d.templates) >= d.Room
}

// end removes a connection.
func (d *Director) end(c *conn) {
	if !c.onePacket {
		d.conns.remove(c)
	}
	if c.state.active() {
		c.dest.active--
	}
	c.dest.unbind()
	if c.template != nil {
		d.release(c.template)
	}
}

// step makes a packet have its effect on the connection's state and time.
func (d *Director) step(c *conn, p *packet, reply bool) {
	to := c.state
	switch c.proto {
	case ipvs.TCP:
		to = d.tcpTable().next(c.state, d.column(c, reply), tcpEvent(p.flags()))
		if to == Established && to != c.state {
			c.assure()
		}
	case ipvs.SCTP:
		if event := sctpEvent(p.payload()); event >= 0 {
			to = sctpStates.next(c.state, d.column(c, reply), event)
		}
		if to == Associated && to != c.state {
			c.assure()
		}
	case ipvs.UDP:
		to = UDP
		if reply {
			c.assure()
		}
	}
	if to.active() && !c.state.active() {
		c.dest.active++
	}
	if !to.active() && c.state.active() {
		c.dest.active--
	}
	c.state = to
	c.expires = d.now + uint64(d.Ticks(d.timeout(c, to)))
}

// timeout is the service's own, or the director's.
func (d *Director) timeout(c *conn, s State) time.Duration {
	own, seconds := c.dest.service.Settings.Timeouts, uint32(0)
	switch s {
	case Established:
		seconds = own.TCP
	case FinWait:
		seconds = own.TCPFin
	case UDP:
		seconds = own.UDP
	}
	if seconds == 0 {
		return d.timeouts[s]
	}
	return time.Duration(seconds) * time.Second
}

// column says from which side the state table sees a packet. What the director
// itself says as a server is always heard.
func (d *Director) column(c *conn, reply bool) direction {
	switch {
	case reply:
		c.noOutput = false
		return output
	case c.noOutput && !(d.SeesOwn && d.ways[c.server.Addr()].Local):
		return inputOnly
	}
	return input
}

// countIn and countOut count a packet of n bytes, from the client and to it
// (ip_vs_in_stats, ip_vs_out_stats).
func (c *conn) countIn(n int) {
	if !c.dest.available {
		return
	}
	for _, s := range []*ipvs.Stats{&c.dest.stats, &c.dest.service.stats} {
		s.InPkts++
		s.InBytes += uint64(n)
	}
}

func (c *conn) countOut(n int) {
	if !c.dest.available {
		return
	}
	for _, s := range []*ipvs.Stats{&c.dest.stats, &c.dest.service.stats} {
		s.OutPkts++
		s.OutBytes += uint64(n)
	}
}

// countRestOut counts a later fragment, which is no packet.
func (c *conn) countRestOut(n int) {
	if !c.dest.available {
		return
	}
	for _, s := range []*ipvs.Stats{&c.dest.stats, &c.dest.service.stats} {
		s.OutBytes += uint64(n)
	}
}

func (c *conn) list(d *Director) ipvs.Conn {
	return ipvs.Conn{
		Protocol: c.proto, CIP: c.client, VIP: c.virtual, RIP: c.server,
		State: c.name(), Expires: d.Duration(uint32(c.expires - d.now)),
	}
}

// name is the state as it is listed: UDP has one alone.
func (c *conn) name() string {
	if c.proto == ipvs.UDP {
		return UDP.String()
	}
	return c.state.String()
}

// Conns calls yield for each connection, in no order.
func (d *Director) Conns(yield func(ipvs.Conn) error) error {
	for _, c := range d.conns.in {
		if err := yield(c.list(d)); err != nil {
			return err
		}
	}
	for _, t := range d.templates {
		if err := yield(t.list(d)); err != nil {
			return err
		}
	}
	return nil
}
