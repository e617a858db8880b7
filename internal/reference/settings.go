// SPDX-License-Identifier: Apache-2.0

package reference

import "github.com/lvsx/lvsx/internal/ipvs"

// Settings are the kernel's net.ipv4.vs.* that the model knows.
type Settings struct {
	ConnReuseMode           int // 0: never, 1: after the end, 3: after the client's FIN, too
	SloppyTCP, SloppySCTP   bool
	ExpireQuiescentTemplate bool
	ExpireNodestConn        bool
	CacheBypass             bool
	SecureTCP               bool // mode 3
	DropEntry               bool // mode 3
	DropRate                int  // am_droprate, while drop_packet is 3; else 0
	NATICMPSend             bool
	ScheduleICMP            bool
	ICMPRate, ICMPBurst     uint32 // net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst; rate 0: no limit
}

// DefaultSettings are the kernel's.
var DefaultSettings = Settings{ConnReuseMode: 1}

// isReuse tells whether a client begins anew by the port of a connection that is
// over, unless a template controls it, or leaves a server without weight
// (is_new_conn_expected).
func (d *Director) isReuse(c *conn, p *packet) bool {
	switch {
	case !(isTCP(p) && p.flags()&flagSYN != 0 || isInit(p)):
		return false
	case d.Settings.ExpireNodestConn && c.dest.Weight == 0:
		return true
	case c.template != nil, c.teller != nil:
		return false
	}
	switch c.state {
	case TimeWait, Close, Closed:
		return d.Settings.ConnReuseMode != 0
	case FinWait:
		return d.Settings.ConnReuseMode&2 != 0 && c.noOutput
	}
	return false
}

// maySchedule tells whether a packet may begin a connection (tcp_conn_schedule,
// sctp_conn_schedule).
func (d *Director) maySchedule(p *packet) bool {
	switch p.proto {
	case ipvs.SCTP:
		return beginsSCTP(p.payload(), d.Settings.SloppySCTP)
	case ipvs.UDP:
		return true
	}
	return p.flags()&flagRST == 0 && (p.flags()&flagSYN != 0 || d.Settings.SloppyTCP)
}

// tcpTable is the one in force.
func (d *Director) tcpTable() *stateTable {
	if d.Settings.SecureTCP {
		return secureStates
	}
	return tcpStates
}

// isUsable tells whether a template may send more connections to its server
// (ip_vs_check_template).
func (d *Director) isUsable(t *template) bool {
	return t.dest.available && !(d.Settings.ExpireQuiescentTemplate && t.dest.Weight == 0)
}

// drops tells whether it is the turn of a packet that would begin a connection
// (ip_vs_todrop).
func (d *Director) drops() bool {
	if d.Settings.DropRate == 0 {
		return false
	}
	if d.sinceDrop--; d.sinceDrop > 0 {
		return false
	}
	d.sinceDrop = d.Settings.DropRate
	return true
}

// ForgetDrops lets the next packet's turn come first, and the next connection's.
func (d *Director) ForgetDrops() {
	d.sinceDrop = 0
	clear(d.turns[:])
}
