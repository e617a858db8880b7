// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"slices"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
)

// Check is one thing that a real server needs.
type Check struct {
	What   string `json:"what"` // the command that makes it so
	OK     bool   `json:"ok"`
	ByUs   bool   `json:"byUs"`             // Up made it, Down will undo it
	Detail string `json:"detail,omitempty"` // why not, or how
}

// Status is how a machine stands as a real server.
type Status struct {
	Wants  []Want        `json:"wants"`
	Checks []Check       `json:"checks"`
	Counts []decap.Count `json:"decapsulator,omitempty"` // since it was set up
}

// OK tells whether all is as it should be.
func (s Status) OK() bool {
	return !slices.ContainsFunc(s.Checks, func(c Check) bool { return !c.OK })
}

// Look tells how the calling thread's network namespace stands as to what Up
// set up there and what the request names. A machine that was prepared by
// hand, without Up, is judged by the same measure. It changes nothing.
func Look(r Request) (Status, error) {
	if r.Method == NAT {
		return lookReturn(r), nil
	}
	have, err := loadState()
	if err != nil {
		return Status{}, err
	}
	status := Status{Wants: have.Wants}
	if r.Method != "" {
		status.Wants = merge(have.Wants, newWants(have.Wants, r.wants()))
	}
	err = inMounts(needsMounts(have, status.Wants), func(pins string) error {
		return status.fill(thisMachine{pins}, have.Done)
	})
	return status, errors.Join(err, host.RemoveStateDir())
}

func lookReturn(r Request) Status {
	check := Check{What: "replies to clients go through the director", OK: true}
	if err := CheckReturn(r.Directors); err != nil {
		check.OK, check.Detail = false, err.Error()
	}
	return Status{Checks: []Check{check}}
}

// newWants returns those of asked whose VIP nobody has set up: what Up was
// told about the others counts.
func newWants(have, asked []Want) []Want {
	return slices.DeleteFunc(asked, func(w Want) bool {
		return slices.ContainsFunc(have, func(h Want) bool { return h.VIP == w.VIP })
	})
}

func (s *Status) fill(m thisMachine, done []Step) error {
	needed, err := allNeeds(s.Wants)
	if err != nil {
		return err
	}
	for i, step := range needed {
		if !contains(needed[:i], step) {
			s.Checks = append(s.Checks, m.check(step, done))
		}
	}
	if m.pins == "" {
		return nil
	}
	return ignoreMissing(m.opened(func(d *decap.Decapsulator) (err error) {
		s.Counts, err = d.Counts()
		return err
	}))
}

func (m thisMachine) check(step Step, done []Step) Check {
	_, met, err := m.look(step)
	c := Check{What: step.String(), OK: met, ByUs: met && contains(done, step)}
	switch {
	case err != nil:
		c.Detail = err.Error()
	case step.Kind == Attach && met:
		link, err := host.LinkByName(step.Link)
		if err == nil {
			c.Detail = string(link.XDP) + " XDP"
		}
	}
	return c
}
