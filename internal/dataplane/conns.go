// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"iter"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// A connection's life: bpf/types/life.h.
const (
	phaseMask           = 3
	phaseFree           = 0
	phaseLive           = 2
	phaseDead           = 3
	lifeStateShift      = 14
	lifeStateMask       = 0x1f
	lifeConfirmed       = 1 << 19
	lifeGenerationShift = 20
)

// groupConns is bpf/types/life.h: GROUP_CONNS.
const groupConns = len(directorGroup{}.Lives)

// deadSeen stands in place of a dead connection's state after ageing has met it
// once.
const deadSeen = 1

func phaseOf(life uint32) uint32 { return life & phaseMask }

func stateOf(life uint32) directorState {
	return directorState(life >> lifeStateShift & lifeStateMask)
}

// identityOf is bpf/table.h: identity_of().
func identityOf(life uint32) uint32 {
	return life &^ (lifeStateMask<<lifeStateShift | lifeConfirmed)
}

// isActive is bpf/tcp.h: is_active().
func isActive(s directorState) bool {
	switch s {
	case directorStateSTATE_ESTABLISHED, directorStateSTATE_SYN_SENT, directorStateSTATE_SYN_RECV, directorStateSTATE_SYNACK,
		directorStateSTATE_SCTP_ESTABLISHED:
		return true
	}
	return false
}

// stateNames are ipvsadm's (ip_vs_proto_tcp.c: tcp_state_name_table,
// ip_vs_proto_sctp.c: sctp_state_name).
var stateNames = [directorStateSTATE_COUNT]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "UDP", "KILLED",
	"INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
}

// stateName is what ipvsadm -Lc says of a connection. UDP has one state, also
// before a datagram was seen.
func stateName(c *directorConn, state directorState) string {
	if c.Proto == uint8(ipvs.UDP) {
		state = directorStateSTATE_UDP
	}
	return stateNames[min(state, directorStateSTATE_COUNT-1)]
}

// loadOf returns a destination's connections now.
func (d *Dataplane) loadOf(index uint32) (active, total uint32) {
	return atomic.LoadUint32(&d.loads.at[index].Active), atomic.LoadUint32(&d.loads.at[index].Total)
}

// entry is a place in the table: a connection and, apart from it, its life.
type entry struct {
	location uint32 // in the table, from 1 on
	life     *uint32
	conn     *directorConn
}

func (d *Dataplane) entryAt(location uint32) entry {
	at := int(location - 1)
	return entry{location, &d.groups.at[at/groupConns].Lives[at%groupConns], &d.conns.at[at]}
}

// entries yields the places of groups from first up to before end, in order.
func (d *Dataplane) entries(first, end int) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for g := first; g < end; g++ {
			for i := range groupConns {
				if !yield(d.entryAt(uint32(g*groupConns + i + 1))) {
					return
				}
			}
		}
	}
}

// live yields the connections that live, over or not, each with its life.
func (d *Dataplane) live() iter.Seq2[entry, uint32] {
	return func(yield func(entry, uint32) bool) {
		for e := range d.entries(0, len(d.groups.at)) {
			if life := atomic.LoadUint32(e.life); phaseOf(life) == phaseLive && !yield(e, life) {
				return
			}
		}
	}
}

// Conns calls yield for each connection, in the order of the table, without
// holding them all. It stops at yield's first error and returns it.
func (d *Dataplane) Conns(yield func(ipvs.Conn) error) error {
	d.expire()
	now := d.clock.now()
	for e, life := range d.live() {
		conn, ok := d.read(e, life, now)
		if !ok {
			continue
		}
		if err := yield(conn); err != nil {
			return err
		}
	}
	return nil
}

// read copies a connection, if it is not over and stayed the same one meanwhile.
func (d *Dataplane) read(e entry, life, now uint32) (ipvs.Conn, bool) {
	c := *e.conn
	expires := c.Expires
	if isControlling(&c) {
		expires = d.timerOf(&c, now+1)
	}
	left := int32(expires - now)
	if left <= 0 || identityOf(atomic.LoadUint32(e.life)) != identityOf(life) {
		return ipvs.Conn{}, false
	}
	conn := ipvs.Conn{
		Protocol: ipvs.Protocol(c.Proto &^ protoTemplate),
		CIP:      fromAddrPort(c.Cip, c.Cport),
		VIP:      fromAddrPort(c.Vip, c.Vport),
		RIP:      d.realServer(&c),
		State:    stateName(&c, stateOf(life)),
		Expires:  d.clock.duration(uint32(left)),
		Template: isTemplate(&c),
	}
	if conn.Template && isAssured(&c) {
		conn.State = "ASSURED"
	}
	d.nameCall(&conn, c, e.location, life)
	return conn, true
}

// realServer returns where a connection's packets go.
func (d *Dataplane) realServer(c *directorConn) netip.AddrPort {
	if c.Dest == d.bypass() {
		return nowhere(fromAddr(c.Cip))
	}
	dest := d.dests.at[c.Dest]
	port := dest.Port
	if c.Flags&directorConnFlagsCONN_KEEPS_PORT != 0 || (port == 0 && !isTemplate(c)) {
		port = c.Vport
	}
	return fromAddrPort(dest.Rip, port)
}

// Capacity returns how many connections live and how many entries there are.
func (d *Dataplane) Capacity() (live, entries int) {
	for i := range d.loads.at {
		live += int(atomic.LoadUint32(&d.loads.at[i].Total))
	}
	return live, len(d.conns.at)
}

// TableSize returns how many bytes connections take, their groups included.
func (d *Dataplane) TableSize() int {
	return len(d.conns.at)*int(unsafe.Sizeof(directorConn{})) + len(d.groups.at)*int(unsafe.Sizeof(directorGroup{}))
}

// Room returns the entries of a table made for so many connections.
func Room(connections int) int {
	return int(groupsFor(connections)) * groupConns
}
