// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"slices"
)

// machine is what steps are made on.
type machine interface {
	// look tells whether the step is made already, and what to remember to undo it.
	look(Step) (found int, met bool, err error)
	do(Step) error
	// undo leaves alone what somebody else has changed since.
	undo(Step) error
}

// plan is the difference between what is done and what is needed.
type plan struct {
	add  []Step // to be made, in order
	drop []Step // to be undone, in order: the last made first
}

// makePlan finds the steps that are needed and not met, and those once made
// that nothing needs any more. Who set what is met is none of our business:
// it stays when we go.
func makePlan(m machine, done, needed []Step) (plan, error) {
	var p plan
	for _, s := range needed {
		found, met, err := m.look(s)
		if err != nil {
			return plan{}, err
		}
		if met || contains(p.add, s) {
			continue
		}
		s.Found = found
		p.add = append(p.add, s)
	}
	for _, s := range slices.Backward(done) {
		if !contains(needed, s) {
			p.drop = append(p.drop, s)
		}
	}
	return p, nil
}

// doneAfter returns the steps to remember once the plan is carried out. A step
// that was made before, undone by somebody and is made again keeps what was
// found the first time.
func (p plan) doneAfter(done []Step) []Step {
	after := slices.DeleteFunc(slices.Clone(done), func(s Step) bool { return contains(p.drop, s) })
	for _, s := range p.add {
		if !contains(after, s) {
			after = append(after, s)
		}
	}
	return after
}

// carryOut makes the plan's steps, or none of them: what an error interrupts
// is undone. Then it undoes the steps to drop, all of them even if one fails.
func (p plan) carryOut(m machine) error {
	for i, s := range p.add {
		if err := m.do(s); err != nil {
			return errors.Join(err, undoAll(m, slices.Backward(p.add[:i])))
		}
	}
	return undoAll(m, slices.All(p.drop))
}

func undoAll(m machine, steps func(func(int, Step) bool)) error {
	var errs []error
	for _, s := range steps {
		errs = append(errs, m.undo(s))
	}
	return errors.Join(errs...)
}
