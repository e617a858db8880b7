// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// stateTimeouts are the kernel's (net/netfilter/ipvs/ip_vs_proto_tcp.c,
// ip_vs_proto_udp.c and ip_vs_proto_sctp.c).
var stateTimeouts = [directorStateSTATE_COUNT]time.Duration{
	directorStateSTATE_NONE:        2 * time.Second,
	directorStateSTATE_ESTABLISHED: 15 * time.Minute,
	directorStateSTATE_SYN_SENT:    2 * time.Minute,
	directorStateSTATE_SYN_RECV:    1 * time.Minute,
	directorStateSTATE_FIN_WAIT:    2 * time.Minute,
	directorStateSTATE_TIME_WAIT:   2 * time.Minute,
	directorStateSTATE_CLOSE:       10 * time.Second,
	directorStateSTATE_CLOSE_WAIT:  1 * time.Minute,
	directorStateSTATE_LAST_ACK:    30 * time.Second,
	directorStateSTATE_LISTEN:      2 * time.Minute,
	directorStateSTATE_SYNACK:      2 * time.Minute,
	directorStateSTATE_UDP:         5 * time.Minute,
	directorStateSTATE_KILLED:      10 * time.Second, // as CLOSE

	directorStateSTATE_SCTP_INIT1:             4 * time.Second,
	directorStateSTATE_SCTP_INIT:              61 * time.Second,
	directorStateSTATE_SCTP_COOKIE_SENT:       61 * time.Second,
	directorStateSTATE_SCTP_COOKIE_REPLIED:    61 * time.Second,
	directorStateSTATE_SCTP_COOKIE_WAIT:       61 * time.Second,
	directorStateSTATE_SCTP_COOKIE:            61 * time.Second,
	directorStateSTATE_SCTP_COOKIE_ECHOED:     61 * time.Second,
	directorStateSTATE_SCTP_ESTABLISHED:       15 * time.Minute,
	directorStateSTATE_SCTP_SHUTDOWN_SENT:     61 * time.Second,
	directorStateSTATE_SCTP_SHUTDOWN_RECEIVED: 61 * time.Second,
	directorStateSTATE_SCTP_SHUTDOWN_ACK_SENT: 61 * time.Second,
	directorStateSTATE_SCTP_REJECTED:          4 * time.Second,
	directorStateSTATE_SCTP_CLOSED:            61 * time.Second,
}

// writeTimeouts makes the datapath's timeouts those that were set, and the
// kernel's where none was.
func (d *Dataplane) writeTimeouts() {
	for set := range d.timeouts.at {
		for state, timeout := range stateTimeouts {
			for _, from := range []int{set, 0} {
				if seconds := d.timeouts.at[from].Seconds[state]; seconds != 0 {
					timeout = time.Duration(seconds) * time.Second
					break
				}
			}
			atomic.StoreUint32(&d.settings.Timeouts[set].States[state], d.clock.ticks(timeout))
		}
	}
}

// Timeouts returns those that a user can set.
func (d *Dataplane) Timeouts() ipvs.Timeouts {
	d.mu.Lock()
	defer d.mu.Unlock()
	get := func(state directorState) uint32 {
		if seconds := d.timeouts.at[0].Seconds[state]; seconds != 0 {
			return seconds
		}
		return uint32(stateTimeouts[state] / time.Second)
	}
	return ipvs.Timeouts{
		TCP:    get(directorStateSTATE_ESTABLISHED),
		TCPFin: get(directorStateSTATE_FIN_WAIT),
		UDP:    get(directorStateSTATE_UDP),
	}
}

// SetTimeouts sets those that are not zero. A connection has the new one from
// its next packet on. What is longer than the kernel's timers last is refused
// with EINVAL (ip_vs_ctl.c: ip_vs_set_timeout).
func (d *Dataplane) SetTimeouts(t ipvs.Timeouts) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkTimeouts("", t); err != nil {
		return err
	}
	set := func(state directorState, seconds uint32) {
		if seconds != 0 {
			d.timeouts.at[0].Seconds[state] = seconds
		}
	}
	set(directorStateSTATE_ESTABLISHED, t.TCP)
	set(directorStateSTATE_FIN_WAIT, t.TCPFin)
	set(directorStateSTATE_UDP, t.UDP)
	d.writeTimeouts()
	return nil
}

func (d *Dataplane) checkTimeouts(op ipvs.Op, t ipvs.Timeouts) error {
	longest := uint32(math.MaxInt32 / d.clock.hz)
	if max(t.TCP, t.TCPFin, t.UDP) > longest {
		return &ipvs.Refusal{Op: op, Errno: syscall.EINVAL, Why: fmt.Sprintf("a timeout lasts %d seconds at most", longest)}
	}
	return nil
}
