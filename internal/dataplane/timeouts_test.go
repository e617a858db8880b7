// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Zero leaves a timeout as it is, and what is too long changes none.
func TestSetTimeouts(t *testing.T) {
	b := newBench(t)
	longest := uint32(math.MaxInt32 / b.clock.hz)
	for _, step := range []struct {
		set, want ipvs.Timeouts
		errno     syscall.Errno
	}{
		{ipvs.Timeouts{}, ipvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}, 0},
		{ipvs.Timeouts{TCP: 86400}, ipvs.Timeouts{TCP: 86400, TCPFin: 120, UDP: 300}, 0},
		{ipvs.Timeouts{TCPFin: 1, UDP: longest}, ipvs.Timeouts{TCP: 86400, TCPFin: 1, UDP: longest}, 0},
		{ipvs.Timeouts{TCP: 5, UDP: longest + 1}, ipvs.Timeouts{TCP: 86400, TCPFin: 1, UDP: longest}, syscall.EINVAL},
	} {
		var errno syscall.Errno
		if err := b.SetTimeouts(step.set); err != nil && !errors.As(err, &errno) || errno != step.errno {
			t.Errorf("SetTimeouts(%+v) = %v, want %v", step.set, err, step.errno)
		}
		if got, err := b.Timeouts(); got != step.want || err != nil {
			t.Errorf("after %+v: %+v, want %+v", step.set, got, step.want)
		}
	}
	if got := b.settings.Timeouts[0].States[directorStateSTATE_TIME_WAIT]; got != b.clock.ticks(stateTimeouts[directorStateSTATE_TIME_WAIT]) {
		t.Errorf("TIME_WAIT lasts %d ticks now", got)
	}
}
