// SPDX-License-Identifier: Apache-2.0

package director

import (
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// supported refuses what the kernel's IPVS would take and the datapath does not
// have yet, by name: never is an option accepted and ignored. Schedulers and
// persistence engines that nobody has are ENOENT, as in the kernel.
func supported(c ipvs.Change) error {
	if c.Op != ipvs.AddService && c.Op != ipvs.EditService {
		return nil
	}
	if !sched.Known(c.Service.Scheduler) || (c.Service.Engine != "" && c.Service.Engine != ipvs.SIP) {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOENT}
	}
	if missing := missingInService(c.Service); missing != "" {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOTSUP, Why: missing + " not built yet"}
	}
	return nil
}

func missingInService(s ipvs.Service) string {
	switch {
	case s.Protocol == ipvs.SCTP:
		return "SCTP services are"
	}
	return ""
}
