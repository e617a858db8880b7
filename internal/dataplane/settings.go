// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Settings returns all settings as they are now.
func (d *Dataplane) Settings() []ipvs.Setting {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := ipvs.Settings()
	for i, s := range all {
		if value, set := d.sysctls[s.Name]; set {
			all[i].Value = strconv.Itoa(int(value))
		}
	}
	return all
}

// Set gives a setting a value, from the next packet on and for the directors to
// come.
func (d *Dataplane) Set(name, text string) error {
	s, err := ipvs.FindSetting(name)
	if err != nil {
		return err
	}
	if s.Fixed != "" && strings.TrimSpace(text) == s.Value {
		return nil
	}
	value, err := s.Parse(text)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.keep(s.Name, value); err != nil {
		return err
	}
	d.defend()
	if s.Name == natICMPSend {
		if err := d.listRealServers(); err != nil {
			return err
		}
	}
	d.writeSwitches()
	return nil
}

// keep remembers a setting.
func (d *Dataplane) keep(name string, value int32) error {
	d.sysctls[name] = value
	if err := d.maps.Sysctls.Put(toSysctlKey(name), value); err != nil {
		return fmt.Errorf("keep setting %s: %w", name, err)
	}
	return nil
}

// adoptSettings learns what was set by earlier directors.
func (d *Dataplane) adoptSettings() error {
	d.sysctls = make(map[string]int32)
	var key directorSysctlKey
	var value int32
	each := d.maps.Sysctls.Iterate()
	for each.Next(&key, &value) {
		if s, err := ipvs.FindSetting(fromSysctlKey(key)); err == nil && s.Fixed == "" {
			d.sysctls[s.Name] = value
		}
	}
	if err := each.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read settings: %w", err)
	}
	d.defend()
	d.writeSwitches()
	return nil
}

// setting returns a value that is a number.
func (d *Dataplane) setting(name string) int32 {
	if value, set := d.sysctls[name]; set {
		return value
	}
	s, err := ipvs.FindSetting(name)
	if err != nil {
		panic(err) // only our own code asks
	}
	value, err := strconv.Atoi(s.Default)
	if err != nil {
		panic(err)
	}
	return int32(value)
}

func (d *Dataplane) isOn(name string) bool {
	return d.setting(name) != 0
}

// writeSwitches tells the datapath of the settings.
func (d *Dataplane) writeSwitches() {
	to := &d.settings.Switches
	atomic.StoreUint32(&to.ConnReuseMode, uint32(d.setting("conn_reuse_mode")))
	for name, at := range map[string]*uint8{
		"cache_bypass":              &to.CacheBypass,
		"expire_nodest_conn":        &to.ExpireNodestConn,
		"expire_quiescent_template": &to.ExpireQuiescentTemplate,
		"pmtu_disc":                 &to.PmtuDisc,
		"schedule_icmp":             &to.ScheduleIcmp,
		"sloppy_sctp":               &to.SloppySctp,
		natICMPSend:                 &to.NatIcmpSend,
		"sloppy_tcp":                &to.SloppyTcp,
	} {
		*at = 0
		if d.isOn(name) {
			*at = 1
		}
	}
	d.settings.LblcrExpiration = d.clock.ticks(d.expiration("lblcr_expiration"))
}

// expiration returns a time that a setting has in seconds.
func (d *Dataplane) expiration(name string) time.Duration {
	return time.Duration(max(0, d.setting(name))) * time.Second
}
