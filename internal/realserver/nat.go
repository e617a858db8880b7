// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
)

// CheckReturn looks whether packets to clients go through one of the
// directors, as masquerading needs: the director must see each reply to put
// its VIP back into it. It changes nothing; the error says what to do.
func CheckReturn(directors []netip.Addr) error {
	if len(directors) == 0 {
		return errors.New("no director given: add --director ADDRESS, the director's address on the real servers' network")
	}
	defaults, err := host.DefaultRoutes(directors[0])
	if err != nil {
		return err
	}
	if err := judgeReturn(defaults, directors); err != nil {
		return fmt.Errorf("%w; run: %s", err, returnCommand(directors[0]))
	}
	return nil
}

// judgeReturn is the rule of CheckReturn. Every one of several default routes
// must lead through a director.
func judgeReturn(defaults []host.Path, directors []netip.Addr) error {
	if len(defaults) == 0 {
		return errors.New("replies to clients have no way: there is no default route")
	}
	for _, path := range defaults {
		if !path.Gateway.IsValid() {
			return errors.New("replies to clients bypass the director: the default route has no gateway")
		}
		if !slices.Contains(directors, path.Gateway) {
			return fmt.Errorf("replies to clients bypass the director: the default route leads through %s", path.Gateway)
		}
	}
	return nil
}

func familyOption(a netip.Addr) string {
	if a.Is6() {
		return " -6"
	}
	return ""
}

// returnCommand names the interface too if the director is a neighbour.
func returnCommand(director netip.Addr) string {
	command := fmt.Sprintf("ip%s route replace default via %s", familyOption(director), director)
	path, err := host.PathTo(director)
	if err != nil || path.Gateway.IsValid() {
		return command + " (the director must be on a network of this machine's)"
	}
	link, err := host.LinkByIndex(path.Link)
	if err != nil {
		return command
	}
	return command + " dev " + link.Name
}
