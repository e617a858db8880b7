// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"

	"github.com/lvsx/lvsx/internal/dataplane"
)

// abandon ends a director that could not start. What an earlier one left
// forwarding it leaves so; what it made itself it removes.
func (d *Director) abandon() error {
	if !d.plane.Adopted() {
		return d.remove()
	}
	return errors.Join(d.ports.letGo(), d.plane.Close())
}

// letGo detaches from the interfaces that were not adopted.
func (p *ports) letGo() error {
	var errs []error
	for ifindex := range p.plane.Attached() {
		if !p.adopted[ifindex] {
			errs = append(errs, p.detach(ifindex))
		}
	}
	return errors.Join(errs...)
}

// detachUnwanted detaches from what an earlier director attached to, if this
// one was told of others.
func (p *ports) detachUnwanted() error {
	if len(p.wanted) == 0 {
		return nil
	}
	attached := p.plane.Attached()
	for _, l := range p.links {
		if _, has := attached[l.Index]; !has || p.isWanted(l) {
			continue
		}
		if err := p.detach(l.Index); err != nil {
			return err
		}
		p.log.Info("detached", "interface", l.Name)
	}
	p.tell()
	return nil
}

// warnOfAdopted tells of options that have no effect: what forwards cannot be
// changed without losing packets.
func (d *Director) warnOfAdopted() {
	if d.plane.Replaced() {
		d.options.Log.Warn("what a director of another version left was removed, its services and connections, too; " +
			"load a table that was saved by ipvsadm-restore")
	}
	if !d.plane.Adopted() {
		return
	}
	const advice = "stop the director without --keep to change it"
	_, room := d.plane.Capacity()
	if room != dataplane.Room(d.options.Connections) {
		d.options.Log.Warn("the adopted table of connections keeps its size; "+advice, "room", room)
	}
	for _, i := range d.ports.list() {
		if d.options.Mode != Auto && string(d.options.Mode) != i.Mode {
			d.options.Log.Warn("the adopted interface keeps its XDP mode; "+advice, "interface", i.Name, "xdp", i.Mode)
		}
	}
}
