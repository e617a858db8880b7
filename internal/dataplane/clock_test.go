// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/testenv"
)

// jiffies is a kernel whose clock is read every 100 µs.
func jiffies(length time.Duration) func() (directorClockReading, error) {
	started := uint64(1e9)
	now := started
	return func() (directorClockReading, error) {
		now += 1e5
		return directorClockReading{Jiffies: 1000 + (now-started)/uint64(length), Monotonic: now}, nil
	}
}

func TestStartClock(t *testing.T) {
	for _, test := range []struct {
		jiffy     time.Duration
		hz, ticks uint64
	}{
		{10 * time.Millisecond, 100, 25},
		{4 * time.Millisecond, 250, 15},
		{3333333, 300, 18},
		{time.Millisecond, 1000, 15},
	} {
		t.Run(test.jiffy.String(), func(t *testing.T) {
			c, err := startClock(test.jiffy, jiffies(test.jiffy))
			if err != nil {
				t.Fatal(err)
			}
			if c.hz != test.hz || c.hz>>c.shift != test.ticks {
				t.Errorf("%d jiffies and %d ticks a second, want %d and %d", c.hz, c.hz>>c.shift, test.hz, test.ticks)
			}
			begun := time.Second + test.jiffy
			if late := c.monotonic - begun; c.jiffies != 1001 || late < 0 || late > 100*time.Microsecond {
				t.Errorf("jiffy %d began at %s, want 1001 at %s", c.jiffies, c.monotonic, begun)
			}
		})
	}
}

func TestStartClockFails(t *testing.T) {
	broken := errors.New("no clock")
	_, err := startClock(time.Millisecond, func() (directorClockReading, error) { return directorClockReading{}, broken })
	if !errors.Is(err, broken) {
		t.Errorf("startClock() = %v, want %v", err, broken)
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
// the other's connections: at first, and when 50 jiffies have passed, of which
// there are 100 to 1000 a second.
func TestClockIsTheDatapaths(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF)
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	c.shift = 0 // its ticks are jiffies
	read := datapathClock(t)
	checkAgreement(t, c, read)
	for start := read(); read() < start+50; {
	}
	checkAgreement(t, c, read)
}

// checkAgreement lets a machine be late with its jiffies, but not always.
func checkAgreement(t *testing.T, c clock, read func() uint32) {
	t.Helper()
	least := int32(math.MaxInt32)
	for range 20 {
		before, tick, after := c.now(), read(), c.now()
		least = min(least, max(int32(before-tick), int32(tick-after), 0))
	}
	if least > 4 {
		t.Errorf("the datapath's clock is %d jiffies away from the director's, always", least)
	}
}

// datapathClock reads jiffies as the datapath does.
func datapathClock(t *testing.T) func() uint32 {
	t.Helper()
	read, done, err := openClock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done() })
	return func() uint32 {
		reading, err := read()
		if err != nil {
			t.Fatal(err)
		}
		return uint32(reading.Jiffies)
	}
}
