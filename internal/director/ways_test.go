// SPDX-License-Identifier: Apache-2.0

package director

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

var (
	rip     = netip.MustParseAddr("10.9.0.2")
	service = ipvs.Service{Key: ipvs.Key{Protocol: ipvs.UDP, VIP: netip.MustParseAddrPort("192.0.2.1:53")}, Scheduler: "rr"}
	hereMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	realMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// inNetwork runs f with a director that is not attached, in a network where rip
// is a neighbour.
func inNetwork(t *testing.T, f func(d *Director)) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	err := testenv.Namespace(t, "ways").Do(func() error {
		err := host.AddVeth(host.VethEnd{Name: "a", MAC: hereMAC}, host.VethEnd{Name: "b", MAC: realMAC})
		if err != nil {
			return err
		}
		for _, name := range []string{"a", "b"} {
			if err := host.SetUp(name); err != nil {
				return err
			}
		}
		if _, err := host.AddAddress("a", netip.MustParsePrefix("10.9.0.1/24")); err != nil {
			return err
		}
		if err := host.AddNeighbour("a", rip, realMAC); err != nil {
			return err
		}
		plane, err := dataplane.Open(dataplane.Config{Connections: 64})
		if err != nil {
			return err
		}
		d := &Director{plane: plane, options: Options{Log: slog.New(slog.DiscardHandler)}}
		if err := d.ways.init(plane); err != nil {
			return err
		}
		defer d.ways.routing.Close()
		links, err := host.Links()
		if err != nil {
			return err
		}
		d.ways.look(links)
		f(d)
		return plane.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *Director) mustApply(t *testing.T, op ipvs.Op) {
	t.Helper()
	c := ipvs.Change{Op: op, Service: service, Destination: ipvs.Destination{RIP: netip.AddrPortFrom(rip, 53), Forwarding: ipvs.Route, Weight: 1}}
	if _, err := d.Apply(c); err != nil {
		t.Fatal(err)
	}
}

// A real server that is removed, forgotten and added again has its way again,
// though nothing in the network changed.
func TestWayOfForgottenServer(t *testing.T) {
	inNetwork(t, func(d *Director) {
		d.mustApply(t, ipvs.AddService)
		d.mustApply(t, ipvs.AddDestination)
		d.mustApply(t, ipvs.DeleteDestination)
		for _, now := range []time.Time{time.Now(), time.Now().Add(time.Hour)} {
			if err := d.plane.Reap(now); err != nil {
				t.Error(err)
			}
		}
		if left := d.plane.RealServers(); len(left) != 0 {
			t.Fatalf("not forgotten: %v", left)
		}
		d.mustApply(t, ipvs.AddDestination)
		if got := d.ask(t); got != "route" {
			t.Errorf("when it is back: %s", got)
		}
	})
}

// A neighbour that somebody configured stays so: asking the kernel for it would
// make it one that is lost when nobody answers.
func TestStaticNeighbourStays(t *testing.T) {
	inNetwork(t, func(d *Director) {
		d.mustApply(t, ipvs.AddService)
		d.mustApply(t, ipvs.AddDestination)
		d.ways.keepAlive(time.Now().Add(time.Hour))
		link, err := host.LinkByName("a")
		if err != nil {
			t.Fatal(err)
		}
		there, err := d.ways.routing.Neighbours(link.Index)
		if err != nil {
			t.Fatal(err)
		}
		if n := there[rip]; !n.Static {
			t.Errorf("afterwards: %+v", n)
		}
	})
}

// What a client may send but no user can mean is refused like the rest.
func TestChangesWithoutAddresses(t *testing.T) {
	inNetwork(t, func(d *Director) {
		d.mustApply(t, ipvs.AddService)
		for _, c := range []ipvs.Change{
			{},
			{Op: "explode", Service: service},
			{Op: ipvs.AddService},
			{Op: ipvs.AddService, Service: ipvs.Service{Scheduler: "rr"}},
			{Op: ipvs.AddDestination, Service: service},
			{Op: ipvs.EditDestination, Service: service},
			{Op: ipvs.DeleteDestination, Service: service},
			{Op: ipvs.AddDestination, Service: service, Destination: ipvs.Destination{RIP: netip.MustParseAddrPort("[::ffff:10.9.0.2]:53")}},
		} {
			if _, err := d.Apply(c); err == nil {
				t.Errorf("applied %+v", c)
			}
		}
		if s := d.plane.Services(); len(s) != 1 || len(s[0].Destinations) != 0 {
			t.Errorf("after refusals only: %+v", s)
		}
	})
}

// ask sends a datagram of a new client through the datapath, as if it came by
// the loopback interface, and returns what became of it.
func (d *Director) ask(t *testing.T) string {
	t.Helper()
	a, err := host.LinkByName("a")
	if err != nil {
		t.Fatal(err)
	}
	err = d.plane.SetInterfaces([]dataplane.Interface{{Index: 1, MAC: hereMAC, MTU: 1500}, {Index: a.Index, MAC: hereMAC, MTU: 1500}})
	if err != nil {
		t.Fatal(err)
	}
	before := d.counts()
	clientPort++
	frame := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0,
		0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 172, 16, 0, 5, 192, 0, 2, 1,
		100, clientPort, 0, 53, 0, 8, 0, 0,
	}
	if _, err := d.plane.Program().Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, 256)}); err != nil {
		t.Fatal(err)
	}
	for name, packets := range d.counts() {
		if packets != before[name] {
			return name
		}
	}
	return "not counted"
}

var clientPort byte

func (d *Director) counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, v := range d.plane.Verdicts() {
		counts[v.Name] = v.Packets
	}
	return counts
}
