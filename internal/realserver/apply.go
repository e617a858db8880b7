// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

// Result is what Up and Down changed; nothing if all was so already.
type Result struct {
	Made   []Step `json:"made"`
	Undone []Step `json:"undone"`
}

// Up prepares the calling thread's network namespace to serve the VIPs, next
// to those that it serves already. If it fails, nothing has changed. For
// masquerading it only checks the way back to clients; see CheckReturn.
func Up(r Request) (Result, error) {
	if r.Method == NAT {
		return Result{}, CheckReturn(r.Directors)
	}
	if len(r.VIPs) == 0 {
		return Result{}, errors.New("no VIP given: add --vip ADDRESS")
	}
	for _, vip := range r.VIPs {
		if err := host.CheckVIP(vip); err != nil {
			return Result{}, err
		}
	}
	return update(func(have []Want) []Want { return merge(have, r.wants()) })
}

// Down stops serving what the request names, or all if it names nothing, and
// restores what Up found, less what somebody else has changed since.
func Down(r Request) (Result, error) {
	return update(func(have []Want) []Want { return without(have, r) })
}

// update changes what is wanted, and makes the machine follow.
func update(change func([]Want) []Want) (result Result, err error) {
	unlock, err := host.LockState()
	if err != nil {
		return Result{}, err
	}
	have, err := loadState()
	if err == nil {
		wants := change(have.Wants)
		err = inMounts(needsMounts(have, wants), func(pins string) error {
			result, err = follow(thisMachine{pins}, have, wants)
			return err
		})
	}
	unlock()
	return result, errors.Join(err, host.RemoveStateDir())
}

// inMounts runs f where the decapsulator's pins are.
func inMounts(needed bool, f func(pins string) error) error {
	if !needed {
		return f("")
	}
	err := host.InHostMounts(func() error {
		dir, err := host.PinDir()
		if err != nil {
			return err
		}
		return f(filepath.Join(dir, "decap"))
	})
	return errors.Join(err, host.UnmountBPFFSIfOurs())
}

// follow makes the machine serve the wants and nothing else. Steps are
// remembered before they are made: what a crash leaves can be undone.
func follow(m thisMachine, have state, wants []Want) (Result, error) {
	if err := m.clear(have); err != nil {
		return Result{}, err
	}
	needed, err := allNeeds(wants)
	if err != nil {
		return Result{}, err
	}
	p, err := makePlan(m, have.Done, needed)
	if err != nil {
		return Result{}, err
	}
	next := state{have.Namespace, wants, p.doneAfter(have.Done)}
	during := state{have.Namespace, wants, slices.Concat(next.Done, p.drop)}
	if err := during.save(); err != nil {
		return Result{}, err
	}
	if err := p.carryOut(m); err != nil {
		return Result{}, errors.Join(err, m.settle(have))
	}
	return Result{p.add, p.drop}, m.settle(next)
}

// settle remembers the state.
func (m thisMachine) settle(s state) error {
	return errors.Join(m.clear(s), s.save())
}

// clear removes a decapsulator that the state has no use for: one that has
// done its work, or that a namespace which is gone has left.
func (m thisMachine) clear(s state) error {
	if m.pins == "" || s.usesDecapsulator() {
		return nil
	}
	return decap.Remove(m.pins)
}

func allNeeds(wants []Want) ([]Step, error) {
	var needed []Step
	for _, w := range wants {
		f, err := gatherFacts(w)
		if err != nil {
			return nil, err
		}
		if err := w.check(f); err != nil {
			return nil, err
		}
		needed = append(needed, needs(w, f)...)
	}
	return needed, nil
}
