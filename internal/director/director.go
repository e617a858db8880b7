// SPDX-License-Identifier: Apache-2.0

// Package director is the mind behind the datapath: it owns the table of one
// network namespace, answers commands, keeps next hops and connections up to
// date, and leaves forwarding to the maps. No packet ever waits for it.
package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// Options are a director's command line.
type Options struct {
	Interfaces  []string // to attach to; none: all Ethernet interfaces
	Mode        Mode
	Connections int          // that the table has room for, if it is made anew
	Fronts      []netip.Addr // directors that send packets here in tunnels
	GUEPort     uint16       // of their tunnels, if they are GUE
	Keep        bool         // leave the datapath forwarding at the end
	Version     string
	Log         *slog.Logger
}

// Director is a running director. It is a control.Director.
type Director struct {
	options  Options
	started  time.Time
	stateDir string
	plane    *dataplane.Dataplane

	mu    sync.Mutex // guards what follows and serialises changes with the network's
	ports ports
	ways  ways

	crowd chan struct{} // tells that real servers are in the queue of ways
}

// Run is the director, from its start until the context ends. It fails with
// ErrRunning if the network namespace has one already.
func Run(ctx context.Context, options Options) error {
	if os.Geteuid() != 0 {
		return errors.New("run director: only root may load programs into the kernel and attach them; run it with sudo")
	}
	stateDir, err := host.StateDir()
	if err != nil {
		return err
	}
	unlock, err := lock(stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	d := &Director{options: options, started: time.Now(), stateDir: stateDir, crowd: make(chan struct{}, 1)}
	if err := d.open(); err != nil {
		return err
	}
	defer d.ways.routing.Close()
	server, err := control.Listen(control.SocketPath(stateDir), d)
	if err != nil {
		return errors.Join(err, d.abandon())
	}
	if err := d.serve(ctx, server); err != nil {
		// A failure is no order to stop: the datapath goes on, as after a crash.
		return errors.Join(err, d.plane.Close())
	}
	return d.close()
}

// open loads or adopts the datapath, makes it know the network, and only then
// lets it see packets.
func (d *Director) open() error {
	cookie, err := host.NetworkCookie()
	if err != nil {
		return err
	}
	err = host.InHostMounts(func() (err error) {
		dir, err := host.PinDir()
		if err != nil {
			return err
		}
		d.plane, err = dataplane.Open(dataplane.Config{
			PinDir: dir, Namespace: cookie, Connections: d.options.Connections, Fronts: len(d.options.Fronts) > 0,
		})
		if err != nil {
			return err
		}
		stale, err := dataplane.RemoveStalePins(dir)
		return errors.Join(err, removeStaleState(d.stateDir, stale))
	})
	if err != nil {
		return err
	}
	if err := d.ways.init(d.plane); err != nil {
		return errors.Join(err, d.abandon())
	}
	if err := d.attach(); err != nil {
		return errors.Join(err, d.abandon())
	}
	d.warnOfAdopted()
	table := d.plane.Table()
	d.options.Log.Info("ready", "services", len(table.Services), "interfaces", d.ports.String())
	return nil
}

func (d *Director) attach() error {
	if err := d.ports.init(d.stateDir, d.plane, d.options); err != nil {
		return err
	}
	d.refresh()
	if err := d.ports.check(); err != nil {
		return err
	}
	if err := d.replace(); err != nil {
		return err
	}
	return d.ports.detachUnwanted()
}

// serve runs the director's tasks until the context ends or one fails.
func (d *Director) serve(ctx context.Context, server *control.Server) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return server.Run(ctx) })
	tasks.Go(func() error { return host.Watch(ctx, func() { d.keepUp(ctx) }) })
	tasks.Go(func() error { return d.findCrowds(ctx) })
	tasks.Go(func() error { d.keepFragments(ctx); return nil })
	tasks.Go(func() error { return every(ctx, dataplane.AgeInterval, d.plane.Age) })
	tasks.Go(func() error { return every(ctx, dataplane.EstimateInterval, d.plane.Estimate) })
	tasks.Go(func() error { return every(ctx, dataplane.ProbeInterval, d.probe) })
	tasks.Go(func() error { return every(ctx, dataplane.DefendInterval, d.plane.Defend) })
	tasks.Go(func() error { return every(ctx, time.Second, d.housekeep) })
	tasks.Go(func() error { return every(ctx, dataplane.CacheInterval, d.sweep) })
	return tasks.Wait()
}

// keepFragments keeps those that came before their first. A container may not be
// let do it, and can do without.
func (d *Director) keepFragments(ctx context.Context) {
	if err := d.plane.KeepEarlyFragments(ctx); err != nil {
		d.options.Log.Warn("fragments that come before their first are lost", "error", err)
	}
}

func every(ctx context.Context, interval time.Duration, do func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			do()
		}
	}
}

// keepUp refreshes after a change of the network. Where many real servers make
// that long, as many changes wait for the next one: a fifth of the time at most
// is spent on it.
func (d *Director) keepUp(ctx context.Context) {
	start := time.Now()
	d.refresh()
	select {
	case <-ctx.Done():
	case <-time.After(4 * time.Since(start)):
	}
}

// refresh looks at interfaces, routes and neighbours anew.
func (d *Director) refresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	links, err := host.Links()
	if err != nil {
		d.options.Log.Error("look at interfaces", "error", err)
		return
	}
	d.ports.update(links)
	rips := d.ways.look(d.ports.withRoomForTags(links))
	d.tellFronts()
	d.resolve(rips)
	d.plane.ForgetClientHops()
}

// resolve finds the ways to real servers. It lets commands pass in between, and
// is called and returns with the lock.
func (d *Director) resolve(rips []netip.Addr) {
	const atOnce = 64
	seen := make(neighbours)
	for some := range slices.Chunk(rips, atOnce) {
		d.ways.update(some, seen)
		d.mu.Unlock()
		d.mu.Lock()
	}
}

// findCrowds finds the ways to real servers that came many at a time.
func (d *Director) findCrowds(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.crowd:
		}
		d.mu.Lock()
		rips := slices.Collect(maps.Keys(d.ways.queue))
		clear(d.ways.queue)
		d.resolve(rips)
		d.mu.Unlock()
	}
}

// housekeep does what is due once a second.
func (d *Director) housekeep() {
	if err := d.plane.Reap(time.Now()); err != nil {
		d.options.Log.Error("forget removed destinations", "error", err)
	}
	if first, err := host.Sysctl("net/ipv4/ip_unprivileged_port_start").Read(); err == nil {
		d.plane.SetUnprivilegedPort(uint16(first))
	}
	d.plane.SetICMPLimit(host.ICMPLimit())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ways.keepAlive(time.Now())
}

// sweep forgets what lblc, lblcr and persistence engines need to remember no
// longer.
func (d *Director) sweep() {
	if err := d.plane.SweepCalls(); err != nil {
		d.options.Log.Error("sweep calls", "error", err)
	}
	if err := d.plane.SweepCaches(); err != nil {
		d.options.Log.Error("sweep caches", "error", err)
	}
}

// close ends the director. Unless it is to keep forwarding, everything that it
// attached or made is removed.
func (d *Director) close() error {
	if d.options.Keep {
		d.options.Log.Info("leaving the datapath forwarding; the next director adopts it")
		return d.plane.Close()
	}
	return d.remove()
}

func (d *Director) remove() error {
	err := host.InHostMounts(func() error {
		dir, err := host.PinDir()
		if err != nil {
			return err
		}
		return errors.Join(d.ports.detachAll(), d.plane.Close(), dataplane.RemovePins(dir))
	})
	return errors.Join(err, removeFiles(d.stateDir), host.UnmountBPFFSIfOurs(), host.RemoveStateDir())
}

// few changes are logged one by one, a restored table as a number.
const few = 10

// Apply makes changes in order and stops at the first that is refused.
func (d *Director) Apply(changes ...ipvs.Change) (applied int, err error) {
	if len(changes) > few {
		defer d.callForCrowd()
	}
	seen := make(neighbours)
	for i, c := range changes {
		if err := d.apply(c, len(changes), seen); err != nil {
			d.options.Log.Info("refused", "change", c.String(), "applied", i, "error", err)
			return i, err
		}
		if len(changes) <= few {
			d.options.Log.Info("applied", "change", c.String())
		}
	}
	if len(changes) > few {
		d.options.Log.Info("applied", "changes", len(changes))
	}
	return len(changes), nil
}

func (d *Director) callForCrowd() {
	select {
	case d.crowd <- struct{}{}:
	default: // it is called for already
	}
}

// apply makes one of so many changes.
func (d *Director) apply(c ipvs.Change, changes int, seen neighbours) error {
	if err := supported(c, d.exists); err != nil {
		return err
	}
	if c.Op == ipvs.AddDestination {
		if err := d.prepare(c, changes, seen); err != nil {
			return err
		}
	}
	return d.plane.Apply(c)
}

// prepare looks at where a new destination is before it is added. The kernel
// refuses this host's broadcast addresses, but only after all else was found
// good (ip_vs_ctl.c: ip_vs_new_dest).
func (d *Director) prepare(c ipvs.Change, changes int, seen neighbours) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	rip := c.Destination.RIP.Addr()
	if d.ways.isBroadcast(rip) {
		table := d.plane.Table()
		if err := table.Apply(c); err != nil {
			return err
		}
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.EINVAL}
	}
	d.ways.find(rip, changes, seen)
	return nil
}

// Services returns all services and what was observed of them.
func (d *Director) Services() ([]ipvs.ServiceStatus, error) {
	return d.plane.Services(), nil
}

// Service returns one service, or a refusal with ESRCH.
func (d *Director) Service(key ipvs.Key) (ipvs.ServiceStatus, error) {
	return d.plane.Service(key)
}

// Conns calls yield for each connection.
func (d *Director) Conns(yield func(ipvs.Conn) error) error {
	return d.plane.Conns(yield)
}

// Kill ends the connections that the filter chooses, or only counts them.
func (d *Director) Kill(filter ipvs.ConnFilter, countOnly bool) (ipvs.Killed, error) {
	killed := d.plane.Kill(filter, countOnly)
	if countOnly {
		return killed, nil
	}
	d.options.Log.Info("killed connections", "client", filter.Client, "vip", filter.VIP, "server", filter.Server,
		"state", filter.State, "reset", killed.Reset, "forgotten", killed.Forgotten)
	d.probe()
	return killed, nil
}

// probe makes the ends of killed connections speak, so that they learn of it.
// One that cannot be reached learns when it speaks of itself.
func (d *Director) probe() {
	for _, p := range d.plane.Probes() {
		if err := host.Provoke(p.From, p.To); err != nil {
			d.options.Log.Debug("probe a killed connection", "from", p.From, "to", p.To, "error", err)
		}
	}
}

// Timeouts returns those that a user can set.
func (d *Director) Timeouts() (ipvs.Timeouts, error) {
	return d.plane.Timeouts(), nil
}

// SetTimeouts sets those that are not zero.
func (d *Director) SetTimeouts(t ipvs.Timeouts) error {
	if err := d.plane.SetTimeouts(t); err != nil {
		return err
	}
	d.options.Log.Info("set timeouts", "timeouts", d.plane.Timeouts())
	return nil
}

// Settings returns all settings as they are now.
func (d *Director) Settings() ([]ipvs.Setting, error) {
	return d.plane.Settings(), nil
}

// Set gives a setting a value.
func (d *Director) Set(name, value string) error {
	if err := d.plane.Set(name, value); err != nil {
		return err
	}
	d.options.Log.Info("set", "setting", name, "value", value)
	return nil
}

// Status returns the director's state of health.
func (d *Director) Status() (control.Status, error) {
	verdicts := d.plane.Verdicts()
	table := d.plane.Table()
	live, capacity := d.plane.Capacity()
	status := control.Status{
		Version:     d.options.Version,
		PID:         os.Getpid(),
		Started:     d.started,
		Services:    len(table.Services),
		Connections: control.Connections{Live: live, Capacity: capacity},
	}
	for _, v := range verdicts {
		status.Verdicts = append(status.Verdicts, control.Verdict{Name: v.Name, Fate: string(v.Fate), Packets: v.Packets})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	status.Interfaces, status.Fronts = d.ports.list(), d.options.Fronts
	status.Problems = slices.Concat(d.ports.problems(), d.ways.problems(table), d.frontProblems(), unmarked(table, d.plane.MarkRules()), lost(verdicts))
	if !d.plane.BalancesLocal() {
		status.Problems = append(status.Problems, unreached(table, d.ways.isLocal)...)
	}
	return status, nil
}

// lost says what to do about packets that were dropped for a reason that their
// sender does not learn of.
func lost(verdicts []dataplane.Verdict) []string {
	advice := map[string]string{
		"merged":            "arrived larger than the interface's MTU, merged by a virtual link's offload, and before Linux 6.6 generic XDP cannot send such on: turn it off where they are sent (ethtool -K IF tx off in the namespaces of clients and real servers)",
		"no-port":           "had to leave by an interface that the director does not know or that cannot send",
		"table-full":        "wanted a new connection while the table was full of connections worth keeping: start the director with more --connections",
		"needs-fragmenting": "were larger than the way to their real server takes and may be fragmented, which the director does not do",
		"no-room":           "found no room for a header in front of them: the driver leaves none",
	}
	var problems []string
	for _, v := range verdicts {
		if text, bad := advice[v.Name]; bad && v.Packets > 0 {
			problems = append(problems, fmt.Sprintf("%d packets %s (%s)", v.Packets, text, v.Name))
		}
	}
	return problems
}
