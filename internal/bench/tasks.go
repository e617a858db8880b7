// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// Work is what the director itself does beside the packets.
type Work struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"` // the median of a few times
}

// task is work to be timed.
type task struct {
	name  string
	times int
	do    func() error
}

const (
	manyServices = 10000
	editTimes    = 101 // of one weight
)

// addTasks lists what can be timed on the tables that are there, and on one of
// many services.
func (b *bench) addTasks(ctx context.Context) error {
	if len(b.planes) > 0 && b.wants("age", "list") {
		p := b.planes[0]
		b.addTask("age", 3, func() error { return ageOnce(p) })
		b.addTask("list", 3, func() error { return p.Conns(func(ipvs.Conn) error { return nil }) })
	}
	if !b.wants("edit-weight", "edit-weight-mh", restore, rings) {
		return nil
	}
	p, err := b.openPlane(1)
	if err != nil {
		return err
	}
	if err := p.configure(scheduled); err != nil {
		return err
	}
	if err := p.addServices(ctx, manyServices); err != nil {
		return err
	}
	b.addTask("edit-weight", editTimes, p.editing(manyService(manyServices/2)))
	b.addTask("edit-weight-mh", editTimes, p.editing(scheduled[len(scheduled)-1]))
	if err := b.addRings(p); err != nil {
		return err
	}
	b.addTask(restore, 1, p.restore)
	return nil
}

const restore = "restore-100k"

// restore adds a thousand services with a hundred real servers each, one change
// after the other as a saved table has them.
func (p *plane) restore() error {
	for n := range 1000 {
		s := direct
		s.vip, s.rip, s.servers = address(203, 0, byte(n>>8), byte(n)), address(10, 16+byte(n>>8), byte(n), 0), 100
		for _, change := range s.changes() {
			if err := p.Apply(change); err != nil {
				return fmt.Errorf("%s: %w", change, err)
			}
		}
	}
	return nil
}

func (b *bench) addTask(name string, times int, do func() error) {
	if b.wants(name) {
		b.tasks = append(b.tasks, task{name, times, do})
	}
}

// ageOnce goes once through the table, as the director does in some seconds.
func ageOnce(p *plane) error {
	for range dataplane.AgePasses {
		p.Age()
	}
	return nil
}

// rings are tables of mh that have as many places as Maglev's usual one, 65537, in all.
const rings = "edit-weight-mh-65537"

func (b *bench) addRings(p *plane) error {
	var edits []func() error
	for places := 0; places < 65537; places += sched.MaglevSize {
		s := scheduled[len(scheduled)-1]
		s.vip = address(192, 0, 2, byte(100+len(edits)))
		if err := p.configure([]service{s}); err != nil {
			return err
		}
		edits = append(edits, p.editing(s))
	}
	b.addTask(rings, editTimes, func() error {
		var errs []error
		for _, edit := range edits {
			errs = append(errs, edit())
		}
		return errors.Join(errs...)
	})
	return nil
}

// manyService is one of services that differ in their VIPs, with one real server.
func manyService(n int) service {
	s := direct
	s.vip, s.rip = address(198, 51, byte(n>>8), byte(n)), address(10, 8, byte(n>>8), byte(n))
	return s
}

func (p *plane) addServices(ctx context.Context, count int) error {
	for n := range count {
		if err := ctx.Err(); err != nil {
			return err
		}
		changes := manyService(n).changes()
		for _, change := range []ipvs.Change{changes[0], changes[len(changes)-1]} {
			if err := p.Apply(change); err != nil {
				return fmt.Errorf("%s: %w", change, err)
			}
		}
	}
	return nil
}

// editing gives a service's first real server another weight each time.
func (p *plane) editing(s service) func() error {
	virtual := ipvs.Service{Key: ipvs.Key{Protocol: s.protocol, VIP: netip.AddrPortFrom(s.vip, 80)}, Scheduler: s.scheduler}
	weight := int32(1)
	return func() error {
		weight = weight%4 + 1
		return p.Apply(ipvs.Change{Op: ipvs.EditDestination, Service: virtual, Destination: ipvs.Destination{
			RIP: netip.AddrPortFrom(s.rip, 80), Forwarding: s.forwarding, Weight: weight,
		}})
	}
}

// perform does all tasks.
func (b *bench) perform(ctx context.Context) (done []Work, err error) {
	for _, t := range b.tasks {
		var times []float64
		for range t.times {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			begun := time.Now()
			if err := t.do(); err != nil {
				return nil, fmt.Errorf("time %s: %w", t.name, err)
			}
			times = append(times, float64(time.Since(begun).Nanoseconds())/1e6)
		}
		done = append(done, Work{t.name, round(percentile(times, 50), 4)})
	}
	return done, nil
}

func printTasks(w io.Writer, tasks []Work) error {
	if len(tasks) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "task\tms\t\n")
	for _, work := range tasks {
		fmt.Fprintf(t, "%s\t%.4f\t\n", work.Name, work.MS)
	}
	return t.Flush()
}
