// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network interface as it was when asked for.
type Link struct {
	Name     string
	Index    int
	Kind     string // "veth", "bridge", "ipip"; "device" for hardware
	MAC      net.HardwareAddr
	MTU      int // bytes, without the link header
	Up       bool
	Running  bool // up, and the kernel has noticed that it can send
	Loopback bool
	ARP      bool // the link resolves neighbours: not loopback, tunnel or NOARP
	Ethernet bool // frames carry an Ethernet header
	Master   int  // index of the bridge or bond that the link is a port of, or 0
	Lower    int  // index of the link that a VLAN is on, or 0
	VLAN     VLAN // of a VLAN
	XDP      XDPMode
}

// VLAN is the tag of a VLAN's frames.
type VLAN struct {
	ID      uint16
	Service bool // 802.1ad, not 802.1Q
}

// XDPMode is how a link runs an XDP program.
type XDPMode string

// The modes. Native runs in the driver, generic before the kernel's stack.
const (
	NoXDP      XDPMode = ""
	NativeXDP  XDPMode = "native"
	GenericXDP XDPMode = "generic"
)

// VethEnd describes one end of a veth pair. A nil Namespace is the calling
// thread's; a nil MAC is chosen by the kernel; MTU 0 means 1500.
type VethEnd struct {
	Namespace *Namespace
	Name      string
	MAC       net.HardwareAddr
	MTU       int
}

// Links returns all links, in order of their indices.
func Links() ([]Link, error) {
	found, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]Link, len(found))
	for i, l := range found {
		links[i] = toLink(l)
	}
	return links, nil
}

// LinkByName finds one link. It fails with os.ErrNotExist if there is none.
func LinkByName(name string) (Link, error) {
	l, err := linkByName(name)
	if err != nil {
		return Link{}, err
	}
	return toLink(l), nil
}

// LinkByIndex finds one link. It fails with os.ErrNotExist if there is none.
func LinkByIndex(index int) (Link, error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return Link{}, fmt.Errorf("find interface %d: %w", index, notExist(err))
	}
	return toLink(l), nil
}

// AddVeth makes a pair of links, each end in its namespace, both down.
func AddVeth(a, b VethEnd) error {
	attrs := netlink.LinkAttrs{Name: a.Name, HardwareAddr: a.MAC, MTU: mtuOf(a)}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: b.Name, PeerHardwareAddr: b.MAC, PeerMTU: uint32(mtuOf(b))}
	if b.Namespace != nil {
		file, err := os.Open(b.Namespace.Path())
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", b.Namespace.name, err)
		}
		defer file.Close()
		veth.PeerNamespace = netlink.NsFd(file.Fd())
	}
	add := func() error {
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s to %s: %w", a.Name, b.Name, err)
		}
		return nil
	}
	if a.Namespace == nil {
		return add()
	}
	return a.Namespace.Do(add)
}

func mtuOf(end VethEnd) int {
	if end.MTU == 0 {
		return 1500
	}
	return end.MTU
}

// AddDummy makes a link, down, that drops what it sends.
func AddDummy(name string) error {
	if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
		return fmt.Errorf("add dummy %s: %w", name, err)
	}
	return nil
}

// AddBridge makes a bridge, down, without ports.
func AddBridge(name string) error {
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	return nil
}

// SetNoARP makes the link resolve no neighbours.
func SetNoARP(name string) error { return change(name, "resolve nothing on", netlink.LinkSetARPOff) }

// SetBridge makes the link a port of the bridge.
func SetBridge(name, bridge string) error {
	master, err := linkByName(bridge)
	if err != nil {
		return err
	}
	return change(name, "put into bridge "+bridge, func(l netlink.Link) error { return netlink.LinkSetMaster(l, master) })
}

// DeleteLink removes the link, and with one end of a veth pair the other.
// Deleting what is not there is no error.
func DeleteLink(name string) error {
	err := change(name, "delete", netlink.LinkDel)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// SetUp brings the link up.
func SetUp(name string) error { return change(name, "bring up", netlink.LinkSetUp) }

// SetDown brings the link down; its routes go.
func SetDown(name string) error { return change(name, "bring down", netlink.LinkSetDown) }

// SetMAC changes the link's Ethernet address.
func SetMAC(name string, mac net.HardwareAddr) error {
	return change(name, "set MAC address of", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, mac) })
}

// SetMTU changes the longest packet, in bytes without the link header, that
// the link sends.
func SetMTU(name string, mtu int) error {
	return change(name, "set MTU of", func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

func change(name, what string, set func(netlink.Link) error) error {
	l, err := linkByName(name)
	if err != nil {
		return err
	}
	if err := set(l); err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return nil
}

func linkByName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, notExist(err))
	}
	return l, nil
}

// notExist turns netlink's own error type into one that is os.ErrNotExist.
func notExist(err error) error {
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return noLinkError{}
	}
	return err
}

type noLinkError struct{}

func (noLinkError) Error() string        { return "no such interface" }
func (noLinkError) Is(target error) bool { return target == os.ErrNotExist }

func toLink(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{
		Name:     a.Name,
		Index:    a.Index,
		Kind:     l.Type(),
		MAC:      a.HardwareAddr,
		MTU:      a.MTU,
		Up:       a.RawFlags&unix.IFF_UP != 0,
		Running:  a.RawFlags&unix.IFF_RUNNING != 0,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		ARP:      a.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT) == 0,
		Ethernet: a.EncapType == "ether",
		Master:   a.MasterIndex,
		XDP:      xdpMode(a.Xdp),
	}
	// What is below one in another namespace has a number there.
	if vlan, ok := l.(*netlink.Vlan); ok && a.NetNsID < 0 {
		link.Lower = a.ParentIndex
		link.VLAN = VLAN{ID: uint16(vlan.VlanId), Service: vlan.VlanProtocol == netlink.VLAN_PROTOCOL_8021AD}
	}
	return link
}

func xdpMode(x *netlink.LinkXdp) XDPMode {
	switch {
	case x == nil || !x.Attached:
		return NoXDP
	case x.AttachMode == nl.XDP_ATTACHED_SKB:
		return GenericXDP
	}
	return NativeXDP
}
