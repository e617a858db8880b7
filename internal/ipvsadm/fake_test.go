// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"io/fs"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// fakeDirector has everything that the kernel of the recordings had, in their
// namespace: eth0 with 10.0.0.1/24.
type fakeDirector struct {
	table    ipvs.Table
	timeouts ipvs.Timeouts
	daemons  []ipvsadm.Daemon
	conns    []ipvs.Conn
	stats    ipvs.Stats // of every service and destination
	applies  int        // calls of Apply
}

func newFake() *fakeDirector {
	return &fakeDirector{timeouts: ipvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}}
}

var (
	schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none"}
	engines    = []string{"", "sip"}
	broadcast  = netip.MustParseAddr("10.0.0.255")
)

func (f *fakeDirector) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	f.applies++
	return ipvs.ApplyEach(changes, f.applyAll)
}

func (f *fakeDirector) applyAll(changes ...ipvs.Change) (int, error) {
	for i, c := range changes {
		if err := f.apply(c); err != nil {
			return i, err
		}
	}
	return len(changes), nil
}

// apply adds to the table's rules what only a host can know.
func (f *fakeDirector) apply(c ipvs.Change) error {
	table := f.table.Clone()
	if err := table.Apply(c); err != nil {
		return err
	}
	refuse := func(errno syscall.Errno) error { return &ipvs.Refusal{Op: c.Op, Errno: errno} }
	switch c.Op {
	case ipvs.AddService, ipvs.EditService:
		if !slices.Contains(schedulers, c.Service.Scheduler) || !slices.Contains(engines, c.Service.Engine) {
			return refuse(syscall.ENOENT)
		}
	case ipvs.AddDestination:
		if c.Destination.RIP.Addr() == broadcast {
			return refuse(syscall.EINVAL)
		}
	}
	f.table = table
	return nil
}

func (f *fakeDirector) status(s ipvs.Service) ipvs.ServiceStatus {
	out := ipvs.ServiceStatus{Service: s, Stats: f.stats, Rate: &ipvs.Stats{}}
	for _, d := range s.Destinations {
		out.Destinations = append(out.Destinations, ipvs.DestinationStatus{Destination: d, Stats: f.stats, Rate: &ipvs.Stats{}})
	}
	return out
}

func (f *fakeDirector) Services() ([]ipvs.ServiceStatus, error) {
	var all []ipvs.ServiceStatus
	for _, s := range f.table.Services {
		all = append(all, f.status(s))
	}
	return all, nil
}

func (f *fakeDirector) Service(k ipvs.Key) (ipvs.ServiceStatus, error) {
	s := f.table.Find(k)
	if s == nil {
		return ipvs.ServiceStatus{}, &ipvs.Refusal{Errno: syscall.ESRCH}
	}
	return f.status(*s), nil
}

func (f *fakeDirector) Conns(yield func(ipvs.Conn) error) error {
	for _, c := range f.conns {
		if err := yield(c); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeDirector) Timeouts() (ipvs.Timeouts, error) {
	return f.timeouts, nil
}

func (f *fakeDirector) SetTimeouts(t ipvs.Timeouts) error {
	for to, from := range map[*uint32]uint32{&f.timeouts.TCP: t.TCP, &f.timeouts.TCPFin: t.TCPFin, &f.timeouts.UDP: t.UDP} {
		if from != 0 {
			*to = from
		}
	}
	return nil
}

func (f *fakeDirector) Daemons() ([]ipvsadm.Daemon, error) {
	return f.daemons, nil
}

func (f *fakeDirector) running(role string) int {
	return slices.IndexFunc(f.daemons, func(d ipvsadm.Daemon) bool { return d.Role == role })
}

func (f *fakeDirector) StartDaemon(d ipvsadm.Daemon) error {
	if d.Interface != "eth0" && d.Interface != "lo" {
		return syscall.ENODEV
	}
	if f.running(d.Role) >= 0 {
		return syscall.EEXIST
	}
	if d.MaxLen == 0 {
		d.MaxLen = 1472
	}
	if !d.Group.IsValid() {
		d.Group = netip.MustParseAddr("224.0.0.81")
	}
	if d.Port == 0 {
		d.Port = 8848
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	f.daemons = append(f.daemons, d)
	return nil
}

func (f *fakeDirector) StopDaemon(d ipvsadm.Daemon) error {
	i := f.running(d.Role)
	if i < 0 {
		return syscall.ESRCH
	}
	f.daemons = slices.Delete(f.daemons, i, i+1)
	return nil
}

// open is Program.Open for a user.
func (f *fakeDirector) open(uid int) func() (ipvsadm.Director, error) {
	return func() (ipvsadm.Director, error) {
		if uid != 0 {
			return nil, fs.ErrPermission
		}
		return f, nil
	}
}
