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

// clockStands is the shift of a datapath whose clock a test sets: bpf/maps.h, CLOCK_STANDS.
const clockStands = 64

// newClock learns how long a jiffy is, and when one began. Jiffies follow the
// monotonic clock, so that this is good for as long as the machine runs.
func newClock() (clock, error) {
	read, done, err := openClock()
	if err != nil {
		return clock{}, err
	}
	defer done()
	var jiffy unix.Timespec
	// What coarse clocks go by is a jiffy: KTIME_LOW_RES is TICK_NSEC (posix_get_coarse_res).
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &jiffy); err != nil {
		return clock{}, fmt.Errorf("ask how long a jiffy is: %w", err)
	}
	return startClock(time.Duration(jiffy.Nano()), read)
}

// openClock lets the datapath's clock be read, until done.
func openClock() (read func() (directorClockReading, error), done func() error, err error) {
	spec, err := loadDirector()
	if err != nil {
		return nil, nil, fmt.Errorf("read datapath: %w", err)
	}
	var reader struct {
		Program *ebpf.Program  `ebpf:"read_clock"`
		Reading *ebpf.Variable `ebpf:"clock"`
	}
	if err := spec.LoadAndAssign(&reader, nil); err != nil {
		return nil, nil, fmt.Errorf("load clock reader: %w", err)
	}
	return func() (directorClockReading, error) {
		var r directorClockReading
		if _, err := reader.Program.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
			return r, fmt.Errorf("read clock: %w", err)
		}
		return r, reader.Reading.Get(&r)
	}, reader.Program.Close, nil
}

// startClock waits for a jiffy to begin.
func startClock(jiffy time.Duration, read func() (directorClockReading, error)) (clock, error) {
	first, err := read()
	start := first
	for err == nil && start.Jiffies == first.Jiffies {
		start, err = read()
	}
	if err != nil {
		return clock{}, err
	}
	c := clock{hz: hzOf(jiffy), jiffies: start.Jiffies, monotonic: time.Duration(start.Monotonic)}
	for c.hz>>(c.shift+1) >= ticksPerSecond-1 {
		c.shift++
	}
	return c, nil
}

// hzOf returns the kernel's CONFIG_HZ. A 300th of a second is not whole
// nanoseconds.
func hzOf(jiffy time.Duration) uint64 {
	return uint64((time.Second + jiffy/2) / jiffy)
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
