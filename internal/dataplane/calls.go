// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// engines are the persistence engines, by ipvsadm's names.
var engines = map[string]directorEngine{"": directorEngineENGINE_NONE, ipvs.SIP: directorEngineENGINE_SIP}

func fromEngine(e directorEngine) string {
	if e == directorEngineENGINE_SIP {
		return ipvs.SIP
	}
	return ""
}

// nameCall tells of which call a template is, and takes out of it what the
// datapath mixed in (bpf/persist.h: template_key). That a call is unnamed can
// be: the map of names may have been full.
func (d *Dataplane) nameCall(conn *ipvs.Conn, c directorConn, location, life uint32) {
	if !conn.Template || c.Rest.Persistence.Call == 0 {
		return
	}
	vip := c.Vip
	for i := range 4 {
		vip.Bytes[i] ^= byte(c.Rest.Persistence.Call >> (8 * i))
	}
	conn.CIP = fromAddrPort(c.Cip, 0)
	conn.VIP = fromAddrPort(vip, c.Vport)
	conn.Engine = ipvs.SIP
	var call directorCall
	if d.maps.Calls.Lookup(directorCallKey{Location: location, Generation: identityOf(life)}, &call) == nil {
		conn.EngineData = string(call.Text[:call.Length])
	}
}

// SweepCalls forgets the names of calls whose templates are over.
func (d *Dataplane) SweepCalls() error {
	var key directorCallKey
	var call directorCall
	var over []directorCallKey
	entries := d.maps.Calls.Iterate()
	for entries.Next(&key, &call) {
		life := atomic.LoadUint32(d.entryAt(key.Location).life)
		if phaseOf(life) != phaseLive || identityOf(life) != key.Generation {
			over = append(over, key)
		}
	}
	// Aborted: others changed the map meanwhile, and the rest is for the next time.
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read calls: %w", err)
	}
	for _, key := range over {
		if err := d.maps.Calls.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a call: %w", err)
		}
	}
	return nil
}
