// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// clock tells the datapath's time: ticks of 2^shift jiffies, so that 32 bits
// last for years and an entry's line is written a few times a second at most.
type clock struct {
	hz        uint64 // jiffies a second
	shift     uint32
	jiffies   uint64        // at the moment
	monotonic time.Duration // that this was
	fixed     *uint32       // the tick it stands at, in tests; nil: it runs
}

// ticksPerSecond is what shift aims at, from below.
const ticksPerSecond = 16

// newClock measures how long a jiffy is. Jiffies follow the monotonic clock, so
// that one measurement is good for as long as the machine runs.
func newClock() (clock, error) {
	spec, err := loadDirector()
	if err != nil {
		return clock{}, fmt.Errorf("read datapath: %w", err)
	}
	var reader struct {
		Program *ebpf.Program  `ebpf:"read_clock"`
		Reading *ebpf.Variable `ebpf:"clock"`
	}
	if err := spec.LoadAndAssign(&reader, nil); err != nil {
		return clock{}, fmt.Errorf("load clock reader: %w", err)
	}
	defer reader.Program.Close()
	read := func() (directorClockReading, error) {
		var r directorClockReading
		if _, err := reader.Program.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
			return r, fmt.Errorf("read clock: %w", err)
		}
		return r, reader.Reading.Get(&r)
	}
	return measure(read)
}

// measureTime is how long jiffies are counted: a tick that comes late, as on a
// busy virtual machine, must not make 250 a second look like 300.
const measureTime = 100 * time.Millisecond

// measure counts jiffies between two of their edges.
func measure(read func() (directorClockReading, error)) (clock, error) {
	edge := func() (directorClockReading, error) {
		first, err := read()
		for last := first; err == nil; last, err = read() {
			if last.Jiffies != first.Jiffies {
				return last, nil
			}
		}
		return first, err
	}
	start, err := edge()
	if err != nil {
		return clock{}, err
	}
	end := start
	for end.Monotonic-start.Monotonic < uint64(measureTime) {
		if end, err = edge(); err != nil {
			return clock{}, err
		}
	}
	perSecond := float64(end.Jiffies-start.Jiffies) * 1e9 / float64(end.Monotonic-start.Monotonic)
	c := clock{hz: nearestHZ(perSecond), jiffies: end.Jiffies, monotonic: time.Duration(end.Monotonic)}
	for c.hz>>(c.shift+1) >= ticksPerSecond-1 {
		c.shift++
	}
	return c, nil
}

// nearestHZ returns the kernel's CONFIG_HZ that was measured.
func nearestHZ(perSecond float64) uint64 {
	nearest := uint64(100)
	for _, hz := range []uint64{100, 250, 300, 1000} {
		if distance(perSecond, hz) < distance(perSecond, nearest) {
			nearest = hz
		}
	}
	return nearest
}

func distance(perSecond float64, hz uint64) float64 {
	ratio := perSecond / float64(hz)
	return max(ratio, 1/ratio)
}

// now returns the datapath's present tick.
func (c clock) now() uint32 {
	if c.fixed != nil {
		return atomic.LoadUint32(c.fixed)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock exists on every Linux
	}
	passed := time.Duration(ts.Nano()) - c.monotonic
	return uint32((c.jiffies + uint64(passed)*c.hz/uint64(time.Second)) >> c.shift)
}

// ticks returns how many ticks a time lasts, at least one.
func (c clock) ticks(d time.Duration) uint32 {
	return max(1, uint32(uint64(d)*c.hz/uint64(time.Second)>>c.shift))
}

// duration returns how long ticks last.
func (c clock) duration(ticks uint32) time.Duration {
	return time.Duration(uint64(ticks) << c.shift * uint64(time.Second) / c.hz)
}
