// SPDX-License-Identifier: Apache-2.0

// Package bench measures what the director's datapath costs a packet, by
// BPF_PROG_TEST_RUN and beside floors in the same run. It knows the datapath
// from outside: packets go in, verdicts are counted, time passes.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// Config says how long and how large to measure.
type Config struct {
	Flows   int // of the random cases, a power of two
	Rounds  int // in each of which every case has its turn
	Packets int // of a case in a round

	// Large is of more random cases, 0: none. Schedulers has new connections
	// measured of each scheduler.
	Large      int
	Schedulers bool

	// Cases has those alone measured, of cases and floors, whose names it
	// matches, and the MAC swap. Nil: all.
	Cases *regexp.Regexp
}

// The sizes that figures are comparable at.
var (
	Full  = Config{Flows: 1 << 20, Rounds: 31, Packets: 1 << 18, Large: 10 << 20, Schedulers: true}
	Quick = Config{Flows: 1 << 20, Rounds: 9, Packets: 1 << 17}
)

// Run measures on one CPU, in a network namespace of its own that is gone when
// it returns. It needs root, about two GiB of memory at a million flows and
// seven more at ten, and the CPU for itself: whatever else runs there only adds
// to the figures. With another CPU, what two carry is measured, too.
func Run(ctx context.Context, config Config) (Report, error) {
	if config.Flows < 2*flowPorts || config.Flows&(config.Flows-1) != 0 {
		return Report{}, fmt.Errorf("measure %d flows: not a power of two from %d on", config.Flows, 2*flowPorts)
	}
	var report Report
	err := onOwnThread(func() (err error) {
		report, err = run(ctx, config)
		return err
	})
	return report, err
}

// onOwnThread runs f on a thread that is never unlocked: it ends with the
// goroutine, and with it the namespace, the place and the priority it has.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func run(ctx context.Context, config Config) (report Report, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return report, fmt.Errorf("make network namespace: %w (root is needed)", err)
	}
	if err := host.AddVeth(host.VethEnd{Name: secondPort}, host.VethEnd{Name: idleLink}); err != nil {
		return report, err
	}
	cpus, err := allowedCPUs()
	if err != nil {
		return report, err
	}
	if report.Conditions, err = takeCPU(cpus[len(cpus)-1]); err != nil {
		return report, err
	}
	d, err := newDriver(config.Flows)
	if err != nil {
		return report, err
	}
	b := &bench{config: config, driver: d, cpus: cpus}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := d.keep(idleLink); err != nil {
		return report, err
	}
	if err := b.prepare(ctx); err != nil {
		return report, err
	}
	for range config.Rounds {
		if err := b.round(ctx); err != nil {
			return report, err
		}
	}
	report.fill(b)
	if report.Tasks, err = b.perform(ctx); err != nil {
		return report, err
	}
	if report.Memory, err = b.weigh(ctx); err != nil {
		return report, err
	}
	if report.isEmpty() {
		return Report{}, fmt.Errorf("measure cases %s: none has such a name", config.Cases)
	}
	return report, nil
}

// bench is one run: what is measured, and with what.
type bench struct {
	config Config
	driver *driver
	cpus   []int // that may be used; the last is
	planes []*plane
	floors []*trial
	cases  []*trial
	pairs  []*pair
	second *generator // of pairs
	tasks  []task

	direct    *plane // with connections of the service of that name
	hot       *plane // with one connection of each service that has none to itself
	hotClient netip.Addr
}

func (b *bench) close() error {
	errs := []error{b.driver.close()}
	if b.second != nil {
		errs = append(errs, b.second.close())
	}
	for _, p := range b.planes {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// round gives each trial its turn, so that whatever slows the machine for a
// while slows all of them.
func (b *bench) round(ctx context.Context) error {
	for _, trials := range [][]*trial{b.floors, b.cases} {
		for _, t := range trials {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.measure(b.driver); err != nil {
				return fmt.Errorf("measure %s: %w", t.name, err)
			}
		}
	}
	for _, p := range b.pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.measure(b.driver, b.second); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
	}
	return nil
}
