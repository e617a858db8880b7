// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// defence is what drop_entry, drop_packet and secure_tcp go by
// (ip_vs_ctl.c: update_defense_level).
type defence struct {
	freePages func() int64           // of memory
	random    func(n uint32) uint32  // below n
	turns     [packetsCounted]uint32 // until an entry with so many packets is dropped
}

// DefendInterval is how often to call Defend.
const DefendInterval = time.Second

// Defend looks how much memory there is, and drops entries if that is so set.
func (d *Dataplane) Defend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.defend(); d.isActive("drop_entry") {
		d.dropEntries()
	}
}

// defend brings the modes up to date. Those that are automatic tell whether they
// act: 1 becomes 2 while memory is low.
func (d *Dataplane) defend() {
	threshold := int64(max(0, d.setting("amemthresh")))
	free := d.defence.freePages()
	low := free < threshold
	for _, name := range []string{"drop_entry", "drop_packet", "secure_tcp"} {
		switch mode := d.setting(name); {
		case mode == 1 && low:
			d.sysctls[name] = 2
		case mode == 2 && !low:
			d.sysctls[name] = 1
		}
	}

	switches := &d.settings.Switches
	switches.SecureTcp = 0
	if d.isActive("secure_tcp") {
		switches.SecureTcp = 1
	}
	rate := int32(0)
	switch {
	case d.setting("drop_packet") == 3:
		rate = d.setting("am_droprate")
	case d.isActive("drop_packet"):
		rate = int32(threshold / (threshold - free))
		atomic.StoreInt32(&switches.DropCounter, rate)
	}
	atomic.StoreInt32(&switches.DropRate, rate)
}

// isActive tells whether a mode of defence acts now.
func (d *Dataplane) isActive(mode string) bool {
	return d.setting(mode) >= 2
}

// freePages returns how many pages of memory are free or hold what block devices
// have (mm/show_mem.c: si_meminfo).
func freePages() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		panic(err) // fails for bad addresses alone
	}
	return int64((info.Freeram + info.Bufferram) * uint64(info.Unit) / uint64(os.Getpagesize()))
}

// dropEntries looks at a 32nd of the table, chosen at random
// (ip_vs_conn.c: ip_vs_random_dropentry).
func (d *Dataplane) dropEntries() {
	now := d.clock.now()
	for range max(1, len(d.groups.at)/32) {
		group := int(d.defence.random(uint32(len(d.groups.at))))
		for e := range d.entries(group, group+1) {
			if life := atomic.LoadUint32(e.life); phaseOf(life) == phaseLive && d.isDropped(e.conn, stateOf(life), now) {
				d.drop(e, life, now)
			}
		}
	}
}

// drop ends an entry, and the template that was made for it alone unless a
// server ever answered (ip_vs_conn.c: ip_vs_conn_expire).
func (d *Dataplane) drop(e entry, life, now uint32) {
	template, has := d.template(atomic.LoadUint32(&e.conn.Control))
	if !d.end(e, life, now) || isTemplate(e.conn) || !has || isAssured(template.conn) {
		return
	}
	d.end(template, atomic.LoadUint32(template.life), now)
}

func (d *Dataplane) isDropped(entry *directorConn, state directorState, now uint32) bool {
	switch {
	case isTemplate(entry):
		return !isAssured(entry) && !d.isOnePacket(entry.Dest)
	case state == directorStateSTATE_SYN_RECV, state == directorStateSTATE_SYNACK,
		state == directorStateSTATE_SCTP_INIT1, state == directorStateSTATE_SCTP_INIT:
		return true
	case state == directorStateSTATE_ESTABLISHED, state == directorStateSTATE_UDP, state == directorStateSTATE_SCTP_ESTABLISHED:
		return d.isTurn(entry, state, now)
	}
	return false
}

// packetsCounted is how many packets of a connection are told apart, none
// included: bpf/types/conn.h, CONN_PACKETS. The kernel tells two more.
const packetsCounted = 7

// isTurn tells whether an entry is dropped that was silent for a minute: of those
// of which n packets were seen, every nth (ip_vs_conn.c: todrop_entry).
func (d *Dataplane) isTurn(entry *directorConn, state directorState, now uint32) bool {
	silent := now - (atomic.LoadUint32(&entry.Expires) - d.timeoutOf(entry.Dest, state))
	packets := uint32(entry.Flags >> packetsShift)
	if d.clock.duration(silent) < time.Minute || packets == 0 || packets >= packetsCounted {
		return false
	}
	turns := &d.defence.turns[packets]
	if *turns > 1 {
		*turns--
		return false
	}
	*turns = packets
	return true
}

const packetsShift = 5 // bpf/types/conn.h: CONN_PACKETS_SHIFT
