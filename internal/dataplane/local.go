// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// local is what sees packets that the machine itself sends: bpf/local.h.
type local struct {
	out, back *ebpf.Program     // nil before Linux 6.6
	ifindex   int               // of the interface of our own, 0: there is none
	giveBack  link.Link         // on it
	egress    map[int]link.Link // of others
	servers   int               // destinations that are the machine itself
}

// Names of pinned links.
const (
	egress   Mode = "egress"
	giveBack Mode = "give-back"
)

// BalancesLocal tells whether clients and real servers on the machine itself
// can be balanced, which needs tcx (Linux 6.6).
func (d *Dataplane) BalancesLocal() bool {
	return d.local.out != nil
}

// AttachOwn makes an interface the one by which packets of the machine's own
// processes come in. Nobody else may use it.
func (d *Dataplane) AttachOwn(ifindex int) error {
	if err := d.Attach(ifindex, Generic); err != nil {
		return err
	}
	if d.local.ifindex == ifindex {
		return nil
	}
	l, err := d.attachTCX(ifindex, giveBack, d.local.back, ebpf.AttachTCXIngress)
	if err != nil {
		return err
	}
	d.local.giveBack, d.local.ifindex = l, ifindex
	return nil
}

// AttachEgress has packets of the machine's own processes seen that leave by an
// interface. Where they are already, nothing happens.
func (d *Dataplane) AttachEgress(ifindex int) error {
	if d.local.egress[ifindex] != nil {
		return nil
	}
	l, err := d.attachTCX(ifindex, egress, d.local.out, ebpf.AttachTCXEgress)
	if err != nil {
		return err
	}
	d.local.egress[ifindex] = l
	return nil
}

func (d *Dataplane) attachTCX(ifindex int, mode Mode, program *ebpf.Program, at ebpf.AttachType) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: at})
	if err != nil {
		return nil, fmt.Errorf("attach %s program to interface %d: %w", mode, ifindex, err)
	}
	if err := d.pinLink(l, pinName(ifindex, mode)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Own is the interface by which packets of the machine's own processes come in,
// 0 if there is none.
func (d *Dataplane) Own() int {
	return d.local.ifindex
}

// DetachEgress stops looking at what leaves by all interfaces.
func (d *Dataplane) DetachEgress() error {
	var errs []error
	for ifindex := range d.local.egress {
		errs = append(errs, d.detachEgress(ifindex))
	}
	return errors.Join(errs...)
}

func (d *Dataplane) detachEgress(ifindex int) error {
	l := d.local.egress[ifindex]
	delete(d.local.egress, ifindex)
	if err := d.detachLink(l); err != nil {
		return fmt.Errorf("detach %s program from interface %d: %w", egress, ifindex, err)
	}
	return nil
}

// detachLocal lets go of what is on an interface beside XDP.
func (d *Dataplane) detachLocal(ifindex int) error {
	if ifindex != d.local.ifindex {
		return d.detachEgress(ifindex)
	}
	l := d.local.giveBack
	d.local.ifindex, d.local.giveBack = 0, nil
	atomic.StoreUint32(&d.settings.LocalIfindex, 0)
	if err := d.detachLink(l); err != nil {
		return fmt.Errorf("detach %s program from interface %d: %w", giveBack, ifindex, err)
	}
	return nil
}

func (d *Dataplane) replaceLocal() error {
	if !d.BalancesLocal() {
		return nil
	}
	if d.local.giveBack != nil {
		if err := d.local.giveBack.Update(d.local.back); err != nil {
			return fmt.Errorf("replace %s program: %w", giveBack, err)
		}
	}
	for ifindex, l := range d.local.egress {
		if err := l.Update(d.local.out); err != nil {
			return fmt.Errorf("replace %s program on interface %d: %w", egress, ifindex, err)
		}
	}
	return nil
}

func (d *Dataplane) closeLocal() error {
	errs := []error{d.local.out.Close(), d.local.back.Close()}
	if d.local.giveBack != nil {
		errs = append(errs, d.local.giveBack.Close())
	}
	for _, l := range d.local.egress {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// countLocal notes that so many more destinations are the machine itself. Where
// none is, nobody looks for replies among the packets that it sends.
func (d *Dataplane) countLocal(more int) {
	d.local.servers += more
	atomic.StoreUint32(&d.settings.LocalServers, uint32(min(d.local.servers, 1)))
}

func isLocal(entry *directorDest) bool {
	return entry.Flags&directorDestFlagsDEST_LOCAL != 0
}
