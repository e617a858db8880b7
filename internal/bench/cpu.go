// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Conditions are what figures were measured under.
type Conditions struct {
	CPU      int    `json:"cpu"`
	Priority string `json:"priority"`
}

// allowedCPUs are those that the calling thread may run on, in order.
func allowedCPUs() (cpus []int, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("read allowed CPUs: %w", err)
	}
	for cpu := 0; len(cpus) < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// takeCPU pins the calling thread to a CPU and gives it the highest priority
// that it can get.
func takeCPU(cpu int) (Conditions, error) {
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return Conditions{}, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	priority, err := raisePriority()
	return Conditions{CPU: cpu, Priority: priority}, err
}

// takeLastCPU takes the last CPU that the thread may run on: the first has the
// most interrupts.
func takeLastCPU() (Conditions, error) {
	cpus, err := allowedCPUs()
	if err != nil {
		return Conditions{}, err
	}
	return takeCPU(cpus[len(cpus)-1])
}

// RestartOrdinary begins the program anew if it was started in real time (chrt),
// without that: Go's scheduler waits in loops, and one thread would wait for another
// that it keeps off its CPU. The one that measures takes the priority itself.
func RestartOrdinary() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return fmt.Errorf("read priority: %w", err)
	}
	if attr.Policy != unix.SCHED_FIFO && attr.Policy != unix.SCHED_RR {
		return nil
	}
	ordinary := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	if err := unix.SchedSetAttr(0, &ordinary, 0); err != nil {
		return fmt.Errorf("lower priority: %w", err)
	}
	if err := unix.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("restart without real time priority: %w", err)
	}
	return nil
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
