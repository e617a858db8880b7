// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/reference"
)

// pair is a datapath and the reference director, which are to do the same.
type pair struct {
	*bench
	model *reference.Director
	run   runner
	wall  time.Time // what Reap is told
	dice  uint32
	wrong string // what they did differently

	sum tally

	dropping bool // drop_packet is 3
	dropRate int
}

// pairMTU is that of a pair's interface.
const pairMTU = 2900

// newPair gives a pair without services, in a network namespace of its own.
func newPair(t *testing.T, connections int) *pair {
	t.Helper()
	b := newBenchOf(t, connections)
	p := &pair{bench: b}
	// Less than the largest packets have, which then must have been merged.
	if err := b.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: pairMTU, Mode: Generic}}); err != nil {
		t.Fatal(err)
	}
	p.model = reference.New(reference.MAC(directorMAC), reference.Clock{Ticks: b.clock.ticks, Duration: b.clock.duration})
	b.seeOwn()
	p.model.SeesOwn = true
	p.model.MTU = pairMTU
	p.model.TakenForVIP, p.model.TakenForRIP = p.vips.has, p.rips.has
	p.model.Forwards = b.makeElsewhere()
	p.run.fd = uint32(b.program.FD())
	return p
}

// makeElsewhere gives the namespace ways on to two VIPs, and tells which they are.
func (b *bench) makeElsewhere() (isElsewhere func(netip.Addr) bool) {
	b.t.Helper()
	vips := []netip.Addr{tunnelVIP.Addr(), inIPv6(tunnelVIP).Addr()}
	steps := []func() error{
		func() error { return host.AddVeth(host.VethEnd{Name: "elsewhere"}, host.VethEnd{Name: "there"}) },
		func() error { return host.SetUp("elsewhere") },
		func() error { return host.SetUp("there") },
		func() error { return host.InterfaceSysctl("lo", "forwarding").Write(1) },
		func() error { return host.Sysctl("net/ipv6/conf/lo/forwarding").Write(1) },
	}
	for _, vip := range vips {
		steps = append(steps, func() error {
			return host.AddRoute(netip.PrefixFrom(vip, vip.BitLen()), netip.Addr{}, "elsewhere")
		})
	}
	for _, do := range steps {
		if err := do(); err != nil {
			b.t.Fatal(err)
		}
	}
	return func(a netip.Addr) bool { return slices.Contains(vips, a) }
}

// runner calls BPF_PROG_TEST_RUN without garbage.
type runner struct {
	fd  uint32
	out [4096]byte
}

// runAttr is union bpf_attr as BPF_PROG_TEST_RUN has it.
type runAttr struct {
	fd, retval, sizeIn, sizeOut uint32
	in, out                     uint64
	repeat, duration            uint32
	contextIn, contextOut       uint32
	contexts                    [2]uint64
	flags, cpu, batch, pad      uint32
}

// packet runs a frame and returns what the program answered and left of it.
func (r *runner) packet(frame []byte) (action uint32, left []byte, err error) {
	const testRun = 10
	attr := runAttr{fd: r.fd, sizeIn: uint32(len(frame)), sizeOut: uint32(len(r.out)), repeat: 1}
	attr.in, attr.out = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(frame)))), uint64(uintptr(unsafe.Pointer(&r.out)))
	_, _, errno := unix.Syscall(unix.SYS_BPF, testRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(frame)
	if errno != 0 {
		return 0, nil, errno
	}
	return attr.retval, r.out[:attr.sizeOut], nil
}

// both sends a frame through both and says what they did differently.
func (p *pair) both(frame []byte) (verdict reference.Verdict, wrong string) {
	p.model.Dice = p.dice
	want := p.model.Receive(frame)
	if want.Verdict == "" { // could be about either of two connections
		return "", ""
	}
	action, left, err := p.run.packet(frame)
	if err != nil {
		return want.Verdict, err.Error()
	}
	var told directorTestCase
	if err := p.test.Get(&told); err != nil {
		return want.Verdict, err.Error()
	}
	p.sum.note(directorVerdict(told.Verdict), action)
	if got := verdictNames[told.Verdict]; got != string(want.Verdict) {
		return want.Verdict, fmt.Sprintf("%s, want %s", got, want.Verdict)
	}
	if got := stateNames[told.State]; got != want.State.String() {
		return want.Verdict, fmt.Sprintf("%s, the connection is %s, want %s", want.Verdict, got, want.State)
	}
	return want.Verdict, compareFrames(frame, action, left, want)
}

// compareFrames says what is wrong with what left the datapath.
func compareFrames(in []byte, action uint32, left []byte, want reference.Outcome) string {
	sent := action == xdpTX || action == xdpRedirect || action == xdpPass && want.Verdict == reference.Local && want.Frame != nil
	switch {
	case want.Frame == nil && sent, want.Frame != nil && !sent:
		return fmt.Sprintf("%s by action %d", want.Verdict, action)
	case action == xdpPass && !sent && !bytes.Equal(in, left):
		return fmt.Sprintf("%s, but changed to %x", want.Verdict, left)
	case !sent:
		return ""
	}
	if len(left) < len(want.Frame) {
		return fmt.Sprintf("%s, of %d bytes, want %d:\n%x, want\n%x", want.Verdict, len(left), len(want.Frame), left, want.Frame)
	}
	left = left[:len(want.Frame)] // what follows the packet is padding
	if want.NewHeader {
		maskID(left)
		maskID(want.Frame)
	}
	for i := range left {
		if left[i] != want.Frame[i] {
			return fmt.Sprintf("%s, where byte %d is %02x, want %02x:\n%x, want\n%x", want.Verdict, i, left[i], want.Frame[i], left, want.Frame)
		}
	}
	return ""
}

// maskID takes the ID out of an IPv4 header of the director's own, and out of its
// checksum if that is right; and the flow label out of an IPv6 header.
func maskID(frame []byte) {
	ip := frame[14:]
	switch {
	case hasIPv6(frame):
		ip[1] &= 0xf0
		clear(ip[2:4])
	case checksum(ip[:20]) == 0:
		clear(ip[4:6])
		clear(ip[10:12])
	}
}

// throwBoth says what the dice show both.
func (p *pair) throwBoth(dice uint32) {
	p.dice = dice
	p.throw(dice)
}

// passBoth lets time go by for both. What schedulers go by follows the end of
// connections at once.
func (p *pair) passBoth(ticks uint32) {
	p.model.EndOrphans()
	p.endOrphans()
	p.at(p.now + ticks)
	p.throwBoth(p.dice)
	p.model.Pass(ticks)
	p.wall = p.wall.Add(p.clock.duration(ticks))
	p.ageAll()
	p.ageAll() // templates, once their connections are gone
	p.reapBoth()
}

func (p *pair) reapBoth() {
	p.model.Reap()
	p.reap(p.wall)
}

// wayTo is hopTo with every kind of way, by the address's last byte.
func wayTo(rip netip.Addr) NextHop {
	hop := hopTo(rip)
	switch numberOf(rip) {
	case 21:
		return NextHop{NoRoute: true}
	case 22:
		return NextHop{Local: true, MTU: 65535}
	case 23: // its neighbour does not answer
		hop.Neighbour = nil
	case 24:
		hop.MTU = 1280
	case 25: // by an interface that does not send
		hop.Interface = loopback + 2
	}
	return hop
}

// resolveBoth tells both the ways to all real servers.
func (p *pair) resolveBoth() {
	for _, rip := range p.RealServers() {
		hop := wayTo(rip)
		p.SetNextHop(rip, hop)
		way := reference.Way{MTU: hop.MTU, Source: hop.Address, Local: hop.Local, NoRoute: hop.NoRoute, NoPort: hop.Interface > loopback}
		copy(way.Neighbour[:], hop.Neighbour)
		p.model.SetWay(rip, way)
	}
}

// bothDirectors makes each change in both, for ipvsadm.
type bothDirectors struct{ *pair }

func (d bothDirectors) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	return ipvs.ApplyEach(changes, d.Apply)
}

func (d bothDirectors) Apply(changes ...ipvs.Change) (int, error) {
	for i, c := range changes {
		errno := d.model.Apply(c)
		err := d.Dataplane.Apply(c)
		if got := errnoOf(err); got != errno {
			d.wrong = fmt.Sprintf("%s: %v, want %v", c, err, errno)
		}
		if err != nil {
			return i, err
		}
	}
	return len(changes), nil
}

func (d bothDirectors) SetTimeouts(t ipvs.Timeouts) error {
	d.model.SetTimeouts(t)
	return d.Dataplane.SetTimeouts(t)
}

// modelDirector lists what the model knows.
type modelDirector struct{ *reference.Director }

// ApplyEach is for bothDirectors to do.
func (d modelDirector) ApplyEach(...ipvs.Change) (ipvs.Refused, error) { return nil, syscall.EPERM }

func (d modelDirector) Services() ([]ipvs.ServiceStatus, error) {
	return d.Director.Services(), nil
}

func (d modelDirector) Service(key ipvs.Key) (ipvs.ServiceStatus, error) {
	for _, s := range d.Director.Services() {
		if s.Key == key {
			return s, nil
		}
	}
	return ipvs.ServiceStatus{}, &ipvs.Refusal{Errno: syscall.ESRCH}
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		return syscall.EIO
	}
	return errno
}
