// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// supported refuses what the kernel's IPVS would take and the datapath does not
// have yet, by name: never is an option accepted and ignored. Schedulers that
// nobody has are ENOENT, as in the kernel.
func supported(c ipvs.Change) error {
	var missing string
	switch c.Op {
	case ipvs.AddService, ipvs.EditService:
		if !sched.Known(c.Service.Scheduler) {
			return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOENT}
		}
		missing = missingInService(c.Service)
	case ipvs.AddDestination, ipvs.EditDestination:
		missing = missingInDestination(c.Destination)
	}
	if missing == "" {
		return nil
	}
	return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOTSUP, Why: missing + " not built yet"}
}

func supportedMarks(rules []ipvs.MarkRule) error {
	for _, r := range rules {
		if r.VIP.Addr().Is6() {
			return fmt.Errorf("VIP %s: mark rules of IPv6 are not built yet", ipvs.VIPText(r.VIP))
		}
	}
	return nil
}

func missingInService(s ipvs.Service) string {
	switch {
	case s.Protocol == ipvs.SCTP:
		return "SCTP services are"
	case s.IPv6():
		return "IPv6 services are"
	case s.Engine != "":
		return "persistence engines (--pe) are"
	}
	return ""
}

func missingInDestination(d ipvs.Destination) string {
	if d.RIP.Addr().Is6() {
		return "IPv6 real servers are"
	}
	return ""
}
