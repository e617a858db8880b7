// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/testenv"
)

// jiffies is a kernel whose clock is read every 100 µs. Its ticks come late by
// what late says of them.
func jiffies(hz uint64, late func(tick uint64) time.Duration) func() (directorClockReading, error) {
	now, tick := uint64(1e9), uint64(0)
	length := 1e9 / hz
	return func() (directorClockReading, error) {
		now += 1e5
		for now >= 1e9+(tick+1)*length+uint64(late(tick+1)) {
			tick++
		}
		return directorClockReading{Jiffies: 1000 + tick, Monotonic: now}, nil
	}
}

func TestMeasure(t *testing.T) {
	punctual := func(uint64) time.Duration { return 0 }
	// A loaded virtual machine gets some ticks late: here the first one seen.
	late := func(tick uint64) time.Duration {
		if tick == 1 {
			return 2500 * time.Microsecond
		}
		return 0
	}
	for _, hz := range []uint64{100, 250, 300, 1000} {
		for name, ticks := range map[string]func(uint64) time.Duration{"punctual": punctual, "late": late} {
			t.Run(fmt.Sprintf("%d/%s", hz, name), func(t *testing.T) {
				c, err := measure(jiffies(hz, ticks))
				if err != nil {
					t.Fatal(err)
				}
				if c.hz != hz {
					t.Errorf("measured %d jiffies a second, want %d", c.hz, hz)
				}
				if rate := hz >> c.shift; rate < ticksPerSecond-1 || rate > 2*ticksPerSecond {
					t.Errorf("%d ticks a second", rate)
				}
			})
		}
	}
}

func TestMeasureFails(t *testing.T) {
	broken := errors.New("no clock")
	_, err := measure(func() (directorClockReading, error) { return directorClockReading{}, broken })
	if !errors.Is(err, broken) {
		t.Errorf("measure() = %v, want %v", err, broken)
	}
}

func TestTicks(t *testing.T) {
	c := clock{hz: 250, shift: 4}
	for _, test := range []struct {
		time  time.Duration
		ticks uint32
	}{
		{time.Millisecond, 1}, // never nothing
		{time.Second, 15},
		{15 * time.Minute, 14062},
		{24 * time.Hour, 1350000},
	} {
		if got := c.ticks(test.time); got != test.ticks {
			t.Errorf("ticks(%s) = %d, want %d", test.time, got, test.ticks)
		}
		if back := c.duration(test.ticks); test.time > time.Second && test.time-back > 64*time.Millisecond {
			t.Errorf("duration(%d) = %s, want %s or a tick less", test.ticks, back, test.time)
		}
	}
}

// The director and the datapath must agree about the time, or one of them ends
// the other's connections.
func TestClockIsTheDatapaths(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF)
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := loadDirector()
	if err != nil {
		t.Fatal(err)
	}
	var reader struct {
		Program *ebpf.Program  `ebpf:"read_clock"`
		Reading *ebpf.Variable `ebpf:"clock"`
	}
	if err := spec.LoadAndAssign(&reader, nil); err != nil {
		t.Fatal(err)
	}
	defer reader.Program.Close()
	before := c.now()
	if _, err := reader.Program.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		t.Fatal(err)
	}
	var reading directorClockReading
	if err := reader.Reading.Get(&reading); err != nil {
		t.Fatal(err)
	}
	after := c.now()
	if tick := uint32(reading.Jiffies >> c.shift); tick+1 < before || tick > after+1 {
		t.Errorf("the datapath's tick is %d, the director's %d to %d", tick, before, after)
	}
}
