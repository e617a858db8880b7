// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// keepTeller lets an FTP control connection live while one of its data
// connections does, as it is silent while much is sent: when its time is nearly
// over it gets another minute (ip_vs_conn.c: ip_vs_conn_expire). One that was
// killed gets none.
func (d *Dataplane) keepTeller(e entry, now uint32) {
	data := e.conn
	if phaseOf(atomic.LoadUint32(e.life)) != phaseLive || data.Teller == 0 || int32(data.Expires-now) <= 0 {
		return
	}
	teller := d.entryAt(data.Teller)
	life := atomic.LoadUint32(teller.life)
	if phaseOf(life) != phaseLive || !isTeller(teller.conn, data) {
		return // it is over, and its place perhaps another's
	}
	if stateOf(life) == directorStateSTATE_KILLED {
		return
	}
	expires := atomic.LoadUint32(&teller.conn.Expires)
	if left := int32(expires - now); left > 0 && left < int32(d.settings.Postponement) {
		atomic.CompareAndSwapUint32(&teller.conn.Expires, expires, now+d.settings.Postponement)
	}
}

// isTeller tells whether a connection can be the control connection that told of
// another.
func isTeller(c, data *directorConn) bool {
	return c.Proto == uint8(ipvs.TCP) && c.Vport == networkOrder(ftpPort) &&
		c.Cip == data.Cip && c.Vip == data.Vip && c.Dest == data.Dest
}
