// SPDX-License-Identifier: Apache-2.0

package director

import (
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// supported refuses schedulers and persistence engines that nobody has, with
// ENOENT. As in the kernel that is not said of a service that is to be added and
// there already, or to be edited and not there (ip_vs_ctl.c: ip_vs_genl_set_cmd).
func supported(c ipvs.Change, exists func(ipvs.Key) bool) error {
	if c.Op != ipvs.AddService && c.Op != ipvs.EditService {
		return nil
	}
	if sched.Known(c.Service.Scheduler) && (c.Service.Engine == "" || c.Service.Engine == ipvs.SIP) {
		return nil
	}
	errno := syscall.ENOENT
	switch there := exists(c.Service.Key); {
	case c.Op == ipvs.AddService && there:
		errno = syscall.EEXIST
	case c.Op == ipvs.EditService && !there:
		errno = syscall.ESRCH
	}
	return &ipvs.Refusal{Op: c.Op, Errno: errno}
}

func (d *Director) exists(service ipvs.Key) bool {
	_, err := d.plane.Service(service)
	return err == nil
}
