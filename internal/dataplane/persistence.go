// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// postponement is how much longer a persistence template lives when its time is
// over and it still controls connections (ip_vs_conn.c: ip_vs_conn_expire).
const postponement = 60 * time.Second

// setPersistence writes the service's flags and what templates are made by.
// Those that exist stay as they are.
func (d *Dataplane) setPersistence(s *service, config ipvs.Service) {
	entry := &d.services.at[s.index]
	atomic.StoreUint32(&entry.Netmask, toNetmask(config))
	atomic.StoreUint32(&entry.Timeout, d.clock.ticks(time.Duration(config.Timeout)*time.Second))
	atomic.StoreUint32(&entry.TimeoutSeconds, config.Timeout)
	entry.Engine = engines[config.Engine]
	atomic.StoreUint32(&entry.Flags, uint32(config.Flags))
}

// wildcards are how many services there are that take packets to other ports
// than their own.
type wildcards struct{ ftp, portZero int }

// count adds a service that came, or takes away one that went.
func (w *wildcards) count(k ipvs.Key, change int) {
	switch k.VIP.Port() {
	case 0:
		w.portZero += change
	case ftpPort:
		w.ftp += change
	}
}

// writeWildcards tells the datapath whether there are such services.
func (d *Dataplane) writeWildcards() {
	var some directorWildcards
	if d.wildcards.portZero > 0 {
		some |= directorWildcardsWILDCARD_PORT_ZERO
	}
	if d.wildcards.ftp > 0 {
		some |= directorWildcardsWILDCARD_FTP
	}
	atomic.StoreUint32((*uint32)(&d.settings.Wildcards), uint32(some))
}

const ftpPort = 21

// unprivilegedPort is the kernel's default of net.ipv4.ip_unprivileged_port_start.
const unprivilegedPort = 1024

// SetUnprivilegedPort tells from which port on FTP servers may have data sent
// to them: net.ipv4.ip_unprivileged_port_start.
func (d *Dataplane) SetUnprivilegedPort(first uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.UnprivilegedPort = first
}

func isTemplate(c *directorConn) bool {
	return c.Proto&protoTemplate != 0
}

// protoTemplate is bpf/types/conn.h: PROTO_TEMPLATE.
const protoTemplate = 0x40

// isAssured tells whether a server ever answered one of a template's
// connections.
func isAssured(c *directorConn) bool {
	return c.Flags&directorConnFlagsCONN_CONFIRMED != 0
}

// isOnePacket tells whether a destination's service forgets each connection at
// once.
func (d *Dataplane) isOnePacket(dest uint32) bool {
	return d.services.at[d.dests.at[dest].Service].Flags&uint32(ipvs.OnePacket) != 0
}

// isControlling is bpf/control.h: is_controlling().
func isControlling(c *directorConn) bool {
	return isTemplate(c) && atomic.LoadUint32(&c.Control) > 0
}

// template returns the entry of a connection's template, if it has one.
func (d *Dataplane) template(control uint32) (entry, bool) {
	if control == 0 {
		return entry{}, false
	}
	e := d.entryAt(control)
	return e, isTemplate(e.conn)
}

// release lets go of a connection's template, when it ended at a tick that may
// be past (bpf/control.h: release_template).
func (d *Dataplane) release(control, ended uint32) {
	e, ok := d.template(control)
	if !ok {
		return
	}
	template := e.conn
	if ends := d.timerOf(template, ended); ends != template.Expires {
		atomic.StoreUint32(&template.Rest.Persistence.Timeout, d.settings.Postponement)
		atomic.StoreUint32(&template.Expires, ends)
	}
	atomic.AddUint32(&template.Control, ^uint32(0))
}

// timerOf returns when a template's timer ends next that could not end it until
// some tick.
func (d *Dataplane) timerOf(template *directorConn, until uint32) uint32 {
	ends, minute := atomic.LoadUint32(&template.Expires), d.settings.Postponement
	if late := until - ends; int32(late) > 0 {
		ends += (late + minute - 1) / minute * minute
	}
	return ends
}
