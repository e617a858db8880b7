// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

// thisMachine makes steps on the machine itself, in the network namespace of
// the calling thread.
type thisMachine struct {
	pins string // directory of the decapsulator
}

func (m thisMachine) look(s Step) (found int, met bool, err error) {
	switch s.Kind {
	case SetSysctl:
		return lookSysctl(s)
	case SetUp:
		link, err := host.LinkByName(s.Link)
		return 0, link.Up, err
	case AddAddress:
		met, err := lookAddress(s)
		return 0, met, err
	case AddMember:
		met, err := m.hasMember(s)
		return 0, met, err
	case AddTunnel:
		met, err := m.hasTunnel(s)
		return 0, met, err
	case Attach:
		met, err := m.isAttached(s)
		return 0, met, err
	case Clamp:
		met, err := m.isClamped(s)
		return 0, met, err
	case AttachClamp:
		met, err := m.isClampAttached(s)
		return 0, met, err
	}
	return 0, false, fmt.Errorf("%s: unknown step", s.Kind)
}

func (m thisMachine) do(s Step) error {
	switch s.Kind {
	case SetSysctl:
		return setSysctl(s)
	case SetUp:
		return host.SetUp(s.Link)
	case AddAddress:
		_, err := host.AddServiceAddress(s.Link, single(s.Address))
		return err
	case AddMember:
		return m.loaded(func(d *decap.Decapsulator) error { return d.Add(s.Set, s.Address) })
	case AddTunnel:
		return m.loaded(func(d *decap.Decapsulator) error { return d.AddTunnel(s.Tunnel) })
	case Attach:
		return m.attach(s)
	case Clamp:
		return m.loaded(func(d *decap.Decapsulator) error { return d.SetLargest(s.Address, s.Value) })
	case AttachClamp:
		return onLink(m.loaded, s, (*decap.Decapsulator).AttachClamp)
	}
	return fmt.Errorf("%s: unknown step", s.Kind)
}

func (m thisMachine) undo(s Step) error {
	err := m.undoPresent(s)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the interface is gone, or the decapsulator, and the step with it
	}
	return err
}

func (m thisMachine) undoPresent(s Step) error {
	switch s.Kind {
	case SetSysctl:
		return restoreSysctl(s)
	case SetUp:
		return host.SetDown(s.Link)
	case AddAddress:
		_, err := host.DeleteAddress(s.Link, single(s.Address))
		return err
	case AddMember:
		return m.opened(func(d *decap.Decapsulator) error { return d.Delete(s.Set, s.Address) })
	case AddTunnel:
		return m.opened(func(d *decap.Decapsulator) error { return d.DeleteTunnel(s.Tunnel) })
	case Attach:
		return onLink(m.opened, s, (*decap.Decapsulator).Detach)
	case Clamp:
		return m.unclamp(s)
	case AttachClamp:
		return onLink(m.opened, s, (*decap.Decapsulator).DetachClamp)
	}
	return fmt.Errorf("%s: unknown step", s.Kind)
}

func lookSysctl(s Step) (found int, met bool, err error) {
	all, err := host.InterfaceSysctl("all", s.Setting).Read()
	if err != nil {
		return 0, false, err
	}
	own, err := host.InterfaceSysctl(s.Link, s.Setting).Read()
	if err != nil {
		return 0, false, err
	}
	return own, s.isMet(all, own), nil
}

// setSysctl fails if the value for all interfaces overrules the one that is
// set, as 3 does for arp_ignore.
func setSysctl(s Step) error {
	if err := host.InterfaceSysctl(s.Link, s.Setting).Write(s.Value); err != nil {
		return err
	}
	_, met, err := lookSysctl(s)
	if err != nil || met {
		return err
	}
	all := host.InterfaceSysctl("all", s.Setting)
	overruled := fmt.Errorf("%s: the value of %s overrules it; `sysctl -w %s=0` first", s, all, all)
	return errors.Join(overruled, restoreSysctl(s))
}

// restoreSysctl leaves a value that is not ours any more.
func restoreSysctl(s Step) error {
	setting := host.InterfaceSysctl(s.Link, s.Setting)
	value, err := setting.Read()
	if err != nil || value != s.Value {
		return err
	}
	return setting.Write(s.Found)
}

func lookAddress(s Step) (met bool, err error) {
	if s.Link == tunnelLink {
		return passesSourceCheck(s)
	}
	return hasVIP(s.Address)
}

// passesSourceCheck tells whether clients' packets can come out of the tunnel:
// it has the VIP, or sources are not checked. Even when it checks loosely, the
// kernel drops what comes in by a device without an address
// (net/ipv4/fib_frontend.c, __fib_validate_source).
func passesSourceCheck(s Step) (bool, error) {
	has, err := host.HasAddress(s.Link, single(s.Address))
	if err != nil || has {
		return has, err
	}
	all, err := host.InterfaceSysctl("all", "rp_filter").Read()
	if err != nil {
		return false, err
	}
	own, err := host.InterfaceSysctl(s.Link, "rp_filter").Read()
	return max(all, own) == 0, err
}

// hasVIP looks for the VIP on links where no neighbour asks for it: lo, but
// also tunl0 or a dummy, where others like to put it.
func hasVIP(vip netip.Addr) (bool, error) {
	links, err := host.Links()
	if err != nil {
		return false, err
	}
	for _, l := range links {
		addresses, err := host.Addresses(l.Name)
		if err != nil {
			return false, err
		}
		has := func(p netip.Prefix) bool { return p.Addr() == vip }
		if !slices.ContainsFunc(addresses, has) {
			continue
		}
		if l.ARP {
			return false, fmt.Errorf("VIP %s: it is on %s, which answers neighbours for it; a real server has it on lo only", vip, l.Name)
		}
		return true, nil
	}
	return false, nil
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
