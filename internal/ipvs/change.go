// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Op is what a Change does.
type Op string

// The operations. Each but SetService is one ipvsadm command.
const (
	AddService        Op = "add-service"
	EditService       Op = "edit-service"
	DeleteService     Op = "delete-service"
	Flush             Op = "flush" // all services
	AddDestination    Op = "add-destination"
	EditDestination   Op = "edit-destination"
	DeleteDestination Op = "delete-destination"
	SetService        Op = "set-service" // its Settings, whole
	Zero              Op = "zero"        // counters, of one service or, with a zero Key, of all
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Op) UnmarshalText(text []byte) error {
	switch op := Op(text); op {
	case AddService, EditService, DeleteService, Flush, AddDestination, EditDestination, DeleteDestination, SetService, Zero:
		*o = op
		return nil
	}
	return fmt.Errorf("operation %q: not one of those that changes have", text)
}

// Change is one step between tables. Everything that changes forwarding is a
// Change: commands, restore, plan, reload and health differ only in who makes
// them.
type Change struct {
	Op          Op          `json:"op"`
	Service     Service     `json:"service,omitzero"`     // destination and delete operations and Zero use its Key alone
	Destination Destination `json:"destination,omitzero"` // deletion uses its RIP alone
}

// String returns the arguments of ipvsadm that make the change, with numbers for
// names: "-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1". What ipvsadm has no words
// for is a command of ours: "lvsx service set -t 192.0.2.1:80 --timeout-tcp 7200".
func (c Change) String() string {
	key := c.Service.Key
	switch c.Op {
	case AddService:
		return "-A " + key.String() + c.Service.options()
	case EditService:
		return "-E " + key.String() + c.Service.options()
	case DeleteService:
		return "-D " + key.String()
	case Flush:
		return "-C"
	case AddDestination:
		return fmt.Sprintf("-a %s -r %s%s", key, c.Destination.RIP, c.Destination.options())
	case EditDestination:
		return fmt.Sprintf("-e %s -r %s%s", key, c.Destination.RIP, c.Destination.options())
	case DeleteDestination:
		return fmt.Sprintf("-d %s -r %s", key, c.Destination.RIP)
	case SetService:
		return fmt.Sprintf("lvsx service set %s%s", key, c.Service.Settings)
	case Zero:
		return strings.TrimSpace("-Z " + key.target())
	}
	return string(c.Op)
}

// target is String, but empty for the zero Key, which stands for all services.
func (k Key) target() string {
	if k == (Key{}) {
		return ""
	}
	return k.String()
}

// options returns the service's options, each after a space.
func (s Service) options() string {
	var b strings.Builder
	if s.Scheduler != "" {
		fmt.Fprintf(&b, " -s %s", s.Scheduler)
	}
	if s.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " -p %d", s.Timeout)
		if mask := s.MaskText(); mask != "" {
			fmt.Fprintf(&b, " -M %s", mask)
		}
	}
	if s.Engine != "" {
		fmt.Fprintf(&b, " --pe %s", s.Engine)
	}
	if s.Flags&OnePacket != 0 {
		b.WriteString(" -o")
	}
	if flags := s.schedFlags(); flags != "" {
		fmt.Fprintf(&b, " -b %s", flags)
	}
	return b.String()
}

// schedFlags names the scheduler flags in the way that every scheduler takes.
func (s Service) schedFlags() string {
	var names []string
	for i, flag := range []ServiceFlags{SchedFlag1, SchedFlag2, SchedFlag3} {
		if s.Flags&flag != 0 {
			names = append(names, fmt.Sprintf("flag-%d", i+1))
		}
	}
	return strings.Join(names, ",")
}

// options returns the destination's options, each after a space.
func (d Destination) options() string {
	var b strings.Builder
	fmt.Fprintf(&b, " %s -w %d", d.Forwarding.Option(), d.Weight)
	if d.Upper != 0 {
		fmt.Fprintf(&b, " -x %d", d.Upper)
	}
	if d.Lower != 0 {
		fmt.Fprintf(&b, " -y %d", d.Lower)
	}
	if d.Forwarding == Tunnel {
		b.WriteString(d.tunnelOptions())
	}
	return b.String()
}

func (d Destination) tunnelOptions() string {
	var b strings.Builder
	if d.TunnelType != IPIP {
		fmt.Fprintf(&b, " --tun-type %s", d.TunnelType)
	}
	if d.TunnelPort != 0 {
		fmt.Fprintf(&b, " --tun-port %d", d.TunnelPort)
	}
	switch d.TunnelFlags {
	case Checksum:
		b.WriteString(" --tun-csum")
	case RemoteChecksum:
		b.WriteString(" --tun-remcsum")
	}
	return b.String()
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
	why := r.Why
	if why == "" {
		why = r.Errno.Error()
	}
	if r.Op == "" {
		return why
	}
	return fmt.Sprintf("%s: %s", r.Op, why)
}

// Unwrap lets errors.Is find the errno.
func (r *Refusal) Unwrap() error {
	return r.Errno
}

// Refused are changes that were refused, by their positions among others.
type Refused map[int]*Refusal

// ApplyEach has all changes made that are accepted. apply makes changes in order
// and stops at the first that is refused, applied is how many it made. An error
// that is no refusal ends it: what comes after is not tried.
func ApplyEach(changes []Change, apply func(...Change) (applied int, err error)) (Refused, error) {
	var refused Refused
	for next := 0; next < len(changes); next++ {
		applied, err := apply(changes[next:]...)
		if err == nil {
			break
		}
		next += applied
		var refusal *Refusal
		if !errors.As(err, &refusal) || applied < 0 || next >= len(changes) {
			return refused, err
		}
		named := *refusal
		named.Op = changes[next].Op
		if refused == nil {
			refused = make(Refused)
		}
		refused[next] = &named
	}
	return refused, nil
}
