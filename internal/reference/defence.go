// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"slices"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// packetsCounted is how many of a connection's packets are told apart, none
// included (docs/settings.md: the kernel tells two more).
const packetsCounted = 7

// countRequest counts a client's packet for drop_entry.
func (d *Director) countRequest(c *conn) {
	c.packets = min(c.packets+1, packetsCounted)
}

// DropEntries drops what is due of connections and templates that were chosen at
// random, in their order (ip_vs_random_dropentry). They are named as they are
// listed.
func (d *Director) DropEntries(chosen []ipvs.Conn) {
	if !d.Settings.DropEntry {
		return
	}
	for _, listed := range chosen {
		if listed.Template {
			d.dropTemplate(listed)
			continue
		}
		c := d.conns.in[flow{listed.Protocol, listed.CIP, listed.VIP}]
		if c != nil && d.isDropped(c) {
			d.drop(c)
		}
	}
}

// isDropped tells whether a connection is half-open, or of little use.
func (d *Director) isDropped(c *conn) bool {
	switch c.state {
	case SynRecv, SynAck, Init1, Init:
		return true
	case Established, UDP, Associated:
		return d.isTurn(c)
	}
	return false
}

// isTurn tells whether a connection is dropped that was silent for a minute: of
// those of which n packets were seen, every nth (todrop_entry).
func (d *Director) isTurn(c *conn) bool {
	last := c.expires - uint64(d.Ticks(d.timeout(c, c.state)))
	if d.Duration(uint32(d.now-last)) < time.Minute || c.packets == 0 || c.packets >= packetsCounted {
		return false
	}
	if d.turns[c.packets]--; d.turns[c.packets] > 0 {
		return false
	}
	d.turns[c.packets] = c.packets
	return true
}

// drop ends a connection, and with it the template that was made for it alone,
// unless a server ever answered (ip_vs_conn_expire).
func (d *Director) drop(c *conn) {
	t := c.template
	d.end(c)
	if t != nil && t.controls == 0 && !t.assured && slices.Contains(d.templates, t) {
		d.endTemplate(t)
	}
}

// dropTemplate drops one that controls nothing and whose servers never answered.
// Where each packet is a connection of its own, which nothing counts, it stays.
func (d *Director) dropTemplate(listed ipvs.Conn) {
	for _, t := range d.templates {
		if t.list(d) != listed {
			continue
		}
		if t.controls == 0 && !t.assured && t.dest.service.Flags&ipvs.OnePacket == 0 {
			d.endTemplate(t)
		}
		return
	}
}
