// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/perf"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/reference"
)

// pair is a datapath and the reference director, which are to do the same.
type pair struct {
	*bench
	model *reference.Director
	port  *reference.Trunk // the model's interface, without VLANs
	run   runner           // of what comes in
	left  []byte           // of the last packet that came in

	leaving runner    // of what goes out
	wall    time.Time // what Reap is told
	dice    uint32
	wrong   string // what they did differently

	early *perf.Reader // what the datapath says of early fragments
	kept  []kept
	taken takenPrograms

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
	p := &pair{bench: b, taken: make(takenPrograms)}
	// Less than the largest packets have, which then must have been merged.
	if err := b.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: pairMTU, Mode: Generic}}); err != nil {
		t.Fatal(err)
	}
	p.model = reference.New(reference.MAC(directorMAC), reference.Clock{Ticks: b.clock.ticks, Duration: b.clock.duration})
	p.port = reference.NewTrunk(p.model)
	p.model.MTU = pairMTU
	p.model.TakenForVIP, p.model.TakenForRIP = p.vips.has, p.rips.has
	p.model.Forwards = b.makeElsewhere()
	p.attachFronts()
	p.keepEarly()
	p.run.fd = uint32(b.program.FD())
	p.attachOwn()
	return p
}

// both sends a frame through both and says what they did differently.
func (p *pair) both(frame []byte) (verdict reference.Verdict, wrong string) {
	p.model.Dice = p.dice
	want, tags := p.port.Receive(frame)
	if tags != "" { // of a priority alone
		want.Frame = slices.Insert(slices.Clone(want.Frame), 12, []byte(tags)...)
	}
	return p.decide(frame, want, 0)
}

// decide has the datapath decide of a frame that comes in by an interface, 0: by
// lo, as the model has.
func (p *pair) decide(frame []byte, want reference.Outcome, ingress uint32) (verdict reference.Verdict, wrong string) {
	if want.Verdict == "" { // could be about either of two connections
		return "", ""
	}
	action, left, err := p.run.packet(frame, ingress)
	if err != nil {
		return want.Verdict, err.Error()
	}
	var told directorTestCase
	if err := p.test.Get(&told); err != nil {
		return want.Verdict, err.Error()
	}
	if isHandedOver(directorVerdict(told.Verdict), action, len(left)-(len(frame)-want.Unwrapped)) {
		left = p.sendOn(left)[0]
		if told.Verdict != uint32(directorVerdictVERDICT_LOCAL) {
			action = xdpRedirect
		}
	} else if ingress != 0 && action == xdpPass { // bpf/local.h: return_to_stack()
		clear(frame[:12])
		clear(left[:12])
	}
	p.left = left
	p.sum.note(directorVerdict(told.Verdict), action)
	if told.Verdict == uint32(directorVerdictVERDICT_EARLY) {
		if wrong := p.keep(frame, ingress); wrong != "" {
			return want.Verdict, wrong
		}
	}
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
	up := action == xdpPass && fateNamed(string(want.Verdict)) == Passed // to the kernel
	sent := action == xdpTX || action == xdpRedirect || up && want.Frame != nil
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
		for _, frame := range [][]byte{left, want.Frame} {
			maskID(frame)
			maskPort(frame)
		}
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

// maskPort takes the source port out of GUE's UDP header, and out of its checksum if
// it has one.
func maskPort(frame []byte) {
	if frame[at(frame, 9, 6)] != 17 {
		return
	}
	udp := frame[at(frame, 20, 40):]
	if check := udp[6:8]; check[0] != 0 || check[1] != 0 {
		applyChange(check, udp[:2], []byte{0, 0})
		if check[0] == 0 && check[1] == 0 {
			copy(check, []byte{0xff, 0xff})
		}
	}
	clear(udp[:2])
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

// noInterface is one that the datapath does not know.
const noInterface = 41

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
		hop.Interface = noInterface
	}
	return hop
}

// resolveBoth tells both the ways to all real servers.
func (p *pair) resolveBoth() {
	for _, rip := range p.RealServers() {
		hop := wayTo(rip)
		p.SetNextHop(rip, hop)
		way := reference.Way{MTU: hop.MTU, Source: hop.Address, Local: hop.Local, NoRoute: hop.NoRoute, NoPort: hop.Interface == noInterface}
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
