// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// result is the answer to changes, new timeouts and settings, and any other answer
// that is a refusal.
type result struct {
	Applied int       `json:"applied"`
	Refusal *refusal  `json:"refusal,omitempty"`
	Refused []refusal `json:"refused,omitempty"` // of changes that were each tried; Applied does not count then
	Error   string    `json:"error,omitempty"`   // what is no refusal, but a failure
}

// refusal is ipvs.Refusal on the wire.
type refusal struct {
	At    int           `json:"at,omitempty"` // position among changes that were each tried
	Op    ipvs.Op       `json:"op,omitempty"`
	Errno syscall.Errno `json:"errno"`
	Text  string        `json:"text"`
	Why   string        `json:"why,omitempty"`
}

func toResult(applied int, err error) result {
	r := result{Applied: applied}
	var refused *ipvs.Refusal
	switch {
	case errors.As(err, &refused):
		refusal := toRefusal(refused)
		r.Refusal = &refusal
	case err != nil:
		r.Error = err.Error()
	}
	return r
}

func toResultOfEach(refused ipvs.Refused, err error) result {
	r := toResult(0, err)
	for at, one := range refused {
		refusal := toRefusal(one)
		refusal.At = at
		r.Refused = append(r.Refused, refusal)
	}
	return r
}

func toRefusal(r *ipvs.Refusal) refusal {
	return refusal{Op: r.Op, Errno: r.Errno, Text: r.Errno.Error(), Why: r.Why}
}

func (r refusal) refusal() *ipvs.Refusal {
	return &ipvs.Refusal{Op: r.Op, Errno: r.Errno, Why: r.Why}
}

func (r result) err() error {
	switch {
	case r.Refusal != nil:
		return r.Refusal.refusal()
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}
