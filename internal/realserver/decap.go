// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

func (m thisMachine) hasMember(s Step) (met bool, err error) {
	err = m.opened(func(d *decap.Decapsulator) error {
		members, err := d.Members(s.Set)
		met = slices.Contains(members, s.Address)
		return err
	})
	return met, ignoreMissing(err)
}

func (m thisMachine) hasTunnel(s Step) (met bool, err error) {
	err = m.opened(func(d *decap.Decapsulator) error {
		tunnels, err := d.Tunnels()
		met = slices.Contains(tunnels, s.Tunnel)
		return err
	})
	return met, ignoreMissing(err)
}

func (m thisMachine) isAttached(s Step) (met bool, err error) {
	link, err := host.LinkByName(s.Link)
	if err != nil {
		return false, err
	}
	err = m.opened(func(d *decap.Decapsulator) error {
		attached, err := d.Attached()
		met = slices.Contains(attached, link.Index)
		return err
	})
	return met, ignoreMissing(err)
}

// attach keeps to generic XDP on a veth: in the driver, packets that were
// merged or left without checksum by the peer would need its help.
func (m thisMachine) attach(s Step) error {
	link, err := host.LinkByName(s.Link)
	if err != nil {
		return err
	}
	err = m.loaded(func(d *decap.Decapsulator) error { return d.Attach(link.Index, link.Kind != "veth") })
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.Link, err)
	}
	return nil
}

func (m thisMachine) isClamped(s Step) (met bool, err error) {
	err = m.opened(func(d *decap.Decapsulator) error {
		largest, err := d.Largest(s.Address)
		met = largest == s.Value
		return err
	})
	return met, ignoreMissing(err)
}

func (m thisMachine) isClampAttached(s Step) (met bool, err error) {
	err = onLink(m.opened, s, func(d *decap.Decapsulator, ifindex int) error {
		met, err = d.IsClamped(ifindex)
		return err
	})
	return met, ignoreMissing(err)
}

// unclamp leaves a value that is not the step's any more.
func (m thisMachine) unclamp(s Step) error {
	return m.opened(func(d *decap.Decapsulator) error {
		largest, err := d.Largest(s.Address)
		if err != nil || largest != s.Value {
			return err
		}
		return d.SetLargest(s.Address, 0)
	})
}

func onLink(open func(func(*decap.Decapsulator) error) error, s Step, do func(*decap.Decapsulator, int) error) error {
	link, err := host.LinkByName(s.Link)
	if err != nil {
		return err
	}
	err = open(func(d *decap.Decapsulator) error { return do(d, link.Index) })
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.Link, err)
	}
	return nil
}

func (m thisMachine) loaded(f func(*decap.Decapsulator) error) error {
	return with(decap.Load, m.pins, f)
}

func (m thisMachine) opened(f func(*decap.Decapsulator) error) error {
	return with(decap.Open, m.pins, f)
}

func with(open func(string) (*decap.Decapsulator, error), dir string, f func(*decap.Decapsulator) error) error {
	d, err := open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(d)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
