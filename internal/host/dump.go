// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumpTries is how often a list is asked for that changes while the kernel gives it
// out, as on machines whose containers come and go.
const dumpTries = 100

// dump lists what the kernel has, anew if that changed meanwhile: such a list may
// miss what was there all the time (linux/netlink.h: NLM_F_DUMP_INTR).
func dump[T any](list func() ([]T, error)) (found []T, err error) {
	for range dumpTries {
		found, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return found, err
}
