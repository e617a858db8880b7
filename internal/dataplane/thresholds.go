// SPDX-License-Identifier: Apache-2.0

package dataplane

import "sync/atomic"

// lowerThreshold is bpf/load.h: lower_threshold().
func lowerThreshold(load *directorDestLoad) uint32 {
	if load.Lower != 0 {
		return load.Lower
	}
	return load.Upper - load.Upper/4
}

// setThresholds changes a destination's thresholds. If they are new ones, they
// decide at once whether it is overloaded; with as many connections as lie
// between the two it stays what it was (ip_vs_ctl.c: __ip_vs_update_dest).
func setThresholds(load *directorDestLoad, upper, lower uint32) {
	if load.Upper == upper && load.Lower == lower {
		return
	}
	total := atomic.LoadUint32(&load.Total)
	reached := load.Reached
	if total < lowerThreshold(load) {
		reached = 0
	}
	load.Upper, load.Lower = upper, lower
	switch {
	case upper == 0:
		reached = 0
	case total >= upper:
		reached = 1
	case total < lowerThreshold(load):
		reached = 0
	}
	atomic.StoreUint32(&load.Reached, reached)
}
