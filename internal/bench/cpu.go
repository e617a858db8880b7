// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conditions are what figures were measured under.
type Conditions struct {
	CPU      int    `json:"cpu"`
	Priority string `json:"priority"`
}

// takeCPU pins the calling thread to the last CPU that it may run on (the first
// has the most interrupts) and gives it the highest priority that it can get.
func takeCPU() (Conditions, error) {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return Conditions{}, fmt.Errorf("read allowed CPUs: %w", err)
	}
	last := -1
	for cpu, found := 0, 0; found < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			last = cpu
			found++
		}
	}
	one.Set(last)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return Conditions{}, fmt.Errorf("pin to CPU %d: %w", last, err)
	}
	priority, err := raisePriority()
	return Conditions{CPU: last, Priority: priority}, err
}

// raisePriority goes without what it is not allowed: figures are ratios, and
// low percentiles of them.
func raisePriority() (string, error) {
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(0, &fifo, 0); err == nil {
		return "real time", nil
	}
	err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	switch {
	case err == nil:
		return "nice -20", nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "ordinary", nil
	}
	return "", fmt.Errorf("raise priority: %w", err)
}
