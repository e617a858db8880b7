// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"syscall"
)

// Op is what a Change does.
type Op string

// The operations. Each is one ipvsadm command.
const (
	AddService        Op = "add-service"
	EditService       Op = "edit-service"
	DeleteService     Op = "delete-service"
	Flush             Op = "flush" // all services
	AddDestination    Op = "add-destination"
	EditDestination   Op = "edit-destination"
	DeleteDestination Op = "delete-destination"
	Zero              Op = "zero" // counters, of one service or, with a zero Key, of all
)

// Change is one step between tables. Everything that changes forwarding is a
// Change: commands, restore, plan, reload and health differ only in who makes
// them.
type Change struct {
	Op          Op          `json:"op"`
	Service     Service     `json:"service,omitzero"`     // destination and delete operations and Zero use its Key alone
	Destination Destination `json:"destination,omitzero"` // deletion uses its RIP alone
}

// Refusal is the error of a Change that the table does not accept. Errno is
// the kernel's answer to the same request.
type Refusal struct {
	Op    Op
	Errno syscall.Errno
	Why   string // what the errno does not say; may be empty
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Why != "" {
		return fmt.Sprintf("%s: %s", r.Op, r.Why)
	}
	return fmt.Sprintf("%s: %s", r.Op, r.Errno)
}

// Unwrap lets errors.Is find the errno.
func (r *Refusal) Unwrap() error {
	return r.Errno
}
