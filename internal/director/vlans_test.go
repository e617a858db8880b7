// SPDX-License-Identifier: Apache-2.0

package director

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
)

// connected are links of every kind, on top of each other.
var connected = []host.Link{
	{Name: "eth0.10", Index: 9, Kind: "vlan", Ethernet: true, Lower: 2, VLAN: host.VLAN{ID: 10}},
	{Name: "eth0", Index: 2, Kind: "device", Ethernet: true, MTU: 1500},
	{Name: "outer", Index: 3, Kind: "vlan", Ethernet: true, Lower: 2, VLAN: host.VLAN{ID: 100, Service: true}},
	{Name: "inner", Index: 4, Kind: "vlan", Ethernet: true, Lower: 3, VLAN: host.VLAN{ID: 30}},
	{Name: "third", Index: 5, Kind: "vlan", Ethernet: true, Lower: 4, VLAN: host.VLAN{ID: 1}},
	{Name: "lost", Index: 6, Kind: "vlan", Ethernet: true, Lower: 99, VLAN: host.VLAN{ID: 7}},
	{Name: "bond0", Index: 10, Kind: "bond", Ethernet: true},
	{Name: "eth1", Index: 11, Kind: "device", Ethernet: true, Master: 10},
	{Name: "br0", Index: 12, Kind: "bridge", Ethernet: true},
	{Name: "eth2", Index: 13, Kind: "device", Ethernet: true, Master: 12},
	{Name: "bond1", Index: 14, Kind: "bond", Ethernet: true},
	{Name: "veth0", Index: 15, Kind: "veth", Ethernet: true, Master: 14},
	{Name: "bond2", Index: 16, Kind: "bond", Ethernet: true},
}

func named(name string) host.Link {
	for _, l := range connected {
		if l.Name == name {
			return l
		}
	}
	panic(name)
}

func TestVLANOf(t *testing.T) {
	p := &ports{links: connected}
	for name, want := range map[string]dataplane.VLAN{
		"eth0":    {},
		"eth0.10": {Port: 2, Tags: []dataplane.Tag{{ID: 10}}},
		"outer":   {Port: 2, Tags: []dataplane.Tag{{ID: 100, Service: true}}},
		"inner":   {Port: 2, Tags: []dataplane.Tag{{ID: 100, Service: true}, {ID: 30}}},
		"third":   {}, // the kernel's
		"lost":    {}, // on a link of another namespace
	} {
		if diff := cmp.Diff(want, p.vlanOf(named(name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A port stands for its VLANs; without names ports of bonds and bridges are left out.
func TestIsWanted(t *testing.T) {
	for _, test := range []struct{ wanted, names string }{
		{"", "eth0.10 eth0 outer inner third lost bond0 br0 bond1 bond2"},
		{"eth0", "eth0.10 eth0 outer inner"},
		{"eth0.10 br0", "eth0.10 br0"},
	} {
		p := &ports{links: connected, wanted: strings.Fields(test.wanted)}
		var names []string
		for _, l := range connected {
			if p.isWanted(l) {
				names = append(names, l.Name)
			}
		}
		if got := strings.Join(names, " "); got != test.names {
			t.Errorf("--interface %q: %s, want %s", test.wanted, got, test.names)
		}
	}
}

func TestPortsFirst(t *testing.T) {
	seen := make(map[int]bool)
	for _, l := range portsFirst(connected) {
		if l.Lower == 2 && !seen[2] {
			t.Errorf("%s before its port", l.Name)
		}
		seen[l.Index] = true
	}
}

func TestIsHardware(t *testing.T) {
	p := &ports{links: connected}
	for name, want := range map[string]bool{"eth0": true, "eth0.10": false, "bond0": true, "bond1": false, "bond2": false, "br0": false} {
		if got := p.isHardware(named(name)); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

// What cannot be attached to says what can.
func TestAttachElsewhere(t *testing.T) {
	p := &ports{links: connected, mode: Native}
	for name, want := range map[string]string{"eth1": "bond0", "eth2": "br0", "inner": "eth0", "eth0.10": "eth0"} {
		err := p.attach(named(name))
		if err == nil || !strings.HasSuffix(err.Error(), "give --interface "+want) {
			t.Errorf("%s: %v, want advice to give %s", name, err, want)
		}
	}
}

// In the driver a frame with two tags must be one that a port of its MTU redirects.
func TestRoomForTags(t *testing.T) {
	inNetwork(t, func(d *Director) {
		port, err := host.LinkByName("a")
		if err != nil {
			t.Fatal(err)
		}
		vlan := func(index, lower, mtu int) host.Link {
			return host.Link{Index: index, Lower: lower, MTU: mtu, VLAN: host.VLAN{ID: uint16(index)}}
		}
		links := []host.Link{port, vlan(100, port.Index, 1500), vlan(101, 100, 1500), vlan(102, 100, 1400)}
		p := &ports{plane: d.plane, links: links}
		mtus := func() (all []int) {
			for _, l := range p.withRoomForTags(links) {
				all = append(all, l.MTU)
			}
			return all
		}
		if diff := cmp.Diff([]int{1500, 1500, 1500, 1400}, mtus()); diff != "" {
			t.Errorf("without a program (-want +got):\n%s", diff)
		}
		if err := d.plane.Attach(port.Index, dataplane.Native); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1500, 1500, 1496, 1400}, mtus()); diff != "" {
			t.Errorf("with one in the driver (-want +got):\n%s", diff)
		}
		if err := d.plane.Detach(port.Index); err != nil {
			t.Fatal(err)
		}
	})
}
