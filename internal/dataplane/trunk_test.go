// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/reference"
	"github.com/lvsx/lvsx/internal/testenv"
)

// Tags of the VLANs of vlanLinks, as on the wire.
const (
	tags10    = "\x81\x00\x00\x0a"
	tags20    = "\x81\x00\x00\x14"
	tagsInner = "\x88\xa8\x00\x64\x81\x00\x00\x1e"
)

// trunk is a pair that has VLANs, with the program in the driver of their port.
type trunk struct {
	*pair
	model *reference.Trunk
	links vlanLinks
}

func newTrunk(t *testing.T) *trunk {
	t.Helper()
	p := newPair(t, 1<<16)
	links := vlanLinks{ten: addForwarding(t, "ten"), twenty: addForwarding(t, "twenty"), inner: addForwarding(t, "inner"), elsewhere: 1023}
	if err := p.SetInterfaces(links.on(loopback, directorMAC)); err != nil {
		t.Fatal(err)
	}
	p.attachOwn()
	p.model.MTU, p.model.LinkMTU = 0, 1500 // in the driver nothing is merged
	if err := host.SetMTU("lo", 65536); err != nil {
		t.Fatal(err)
	}
	return &trunk{p, reference.NewTrunk(p.model, tags10, tags20, tagsInner), links}
}

// addForwarding adds a link that packets may come in by and be routed on.
func addForwarding(t *testing.T, name string) (ifindex int) {
	t.Helper()
	if err := host.AddVeth(host.VethEnd{Name: name}, host.VethEnd{Name: name + "-peer"}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []host.Sysctl{host.InterfaceSysctl(name, "forwarding"), host.Sysctl("net/ipv6/conf/" + name + "/forwarding")} {
		if err := s.Write(1); err != nil {
			t.Fatal(err)
		}
	}
	return linkIndex(t, name)
}

// spread puts real servers on their VLANs.
func (p *trunk) spread() {
	tags := map[int]string{p.links.twenty: tags20, p.links.inner: tagsInner}
	for _, rip := range p.RealServers() {
		hop := wayTo(rip)
		noPort := hop.Interface > loopback
		if !noPort {
			hop.Interface = p.links.to(rip, loopback)
		} else {
			hop.Interface = 1000 // unknown
		}
		p.SetNextHop(rip, hop)
		way := reference.Way{MTU: hop.MTU, Source: hop.Address, Local: hop.Local, NoRoute: hop.NoRoute, NoPort: noPort}
		if hop.Neighbour != nil {
			way.Neighbour = p.model.On(tags[hop.Interface], reference.MAC(hop.Neighbour))
		}
		p.model.SetWay(rip, way)
	}
}

// both sends a frame through both and says what they did differently.
func (p *trunk) both(frame []byte) (wrong string) {
	p.model.Dice = p.dice
	want, tags := p.model.Receive(frame)
	if want.Verdict == "" { // could be about either of two connections
		return ""
	}
	action, left, err := p.run.packet(frame, 0)
	if err != nil {
		return err.Error()
	}
	var told directorTestCase
	if err := p.test.Get(&told); err != nil {
		return err.Error()
	}
	p.sum.note(directorVerdict(told.Verdict), action)
	if told.Verdict == uint32(directorVerdictVERDICT_EARLY) {
		if wrong := p.keep(frame, 0); wrong != "" {
			return wrong
		}
	}
	if got := verdictNames[told.Verdict]; got != string(want.Verdict) {
		return fmt.Sprintf("%s, want %s", got, want.Verdict)
	}
	if want.Frame != nil && len(left) > 12+len(tags) {
		if got := string(left[12 : 12+len(tags)]); got != tags {
			return fmt.Sprintf("%s, tags %x, want %x", want.Verdict, got, tags)
		}
		left = slices.Delete(left, 12, 12+len(tags))
	}
	return compareFrames(frame, action, left, want)
}

// tagAny puts a frame on some VLAN, or one that looks so.
func (f *fuzzer) tagAny(b []byte) []byte {
	tags := []byte(choose(f, "", tags10, tags10, tags20, tagsInner, tagsInner,
		"\x81\x00\xe0\x00",                                                         // a priority alone
		"\x81\x00\xa0\x0a",                                                         // with a priority
		"\x88\xa8\x20\x00\x81\x00\x00\x0a",                                         // a priority around
		"\x81\x00\x00\x0a\x81\x00\x60\x00",                                         // and inside
		"\x88\xa8\x00\x0a", "\x81\x00\x00\x28", "\x81\x00\x00\x1e\x88\xa8\x00\x64", // of no VLAN here
		tagsInner+tags10))
	if len(tags) > 0 && f.IntN(20) == 0 {
		tags[f.IntN(len(tags))] ^= 1 << f.IntN(8)
	}
	b = slices.Insert(slices.Clone(b), 12, tags...)
	if f.IntN(50) == 0 {
		b = b[:min(len(b), 14+f.IntN(30))]
	}
	return b
}

// Whatever arrives on VLANs, the datapath does what the reference director does.
// LVSX_SEED repeats a run.
func TestDifferentialTagged(t *testing.T) {
	seed := testenv.Seed(t)
	packets := 400_000
	if testing.Short() {
		packets /= 10
	}
	p := newTrunk(t)
	f := newFuzzer(rand.New(rand.NewPCG(seed, 8021)))
	p.empty()
	if wrong := p.furnish(); wrong != "" {
		t.Fatal(wrong)
	}
	for i := range packets {
		if wrong := p.meddle(f, i); wrong != "" {
			t.Fatalf("LVSX_SEED=%d: packet %d: %s", seed, i, wrong)
		}
		if i%150 == 0 { // whenever meddle may have told ways
			p.spread()
			if wrong := p.readmit(p.model.KnowsFirst, p.both); wrong != "" {
				t.Fatalf("LVSX_SEED=%d: packet %d: %s", seed, i, wrong)
			}
		}
		b := f.frame()
		if len(b) < 14 || len(b) > 3400 {
			continue
		}
		b = f.tagAny(b)
		if wrong := p.both(b); wrong != "" {
			t.Fatalf("LVSX_SEED=%d: packet %d, %x: %s", seed, i, b, wrong)
		}
	}
	if wrong := p.end(); wrong != "" {
		t.Fatalf("LVSX_SEED=%d: %s", seed, wrong)
	}
}
