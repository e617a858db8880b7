// SPDX-License-Identifier: Apache-2.0

package director

import (
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// supported refuses schedulers and persistence engines that nobody has, with
// ENOENT, as the kernel does.
func supported(c ipvs.Change) error {
	if c.Op != ipvs.AddService && c.Op != ipvs.EditService {
		return nil
	}
	if !sched.Known(c.Service.Scheduler) || (c.Service.Engine != "" && c.Service.Engine != ipvs.SIP) {
		return &ipvs.Refusal{Op: c.Op, Errno: syscall.ENOENT}
	}
	return nil
}
