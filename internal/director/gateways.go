// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"

	"github.com/lvsx/lvsx/internal/host"
)

// askGateways keeps the gateways of default routes known, since replies to most
// clients go there. The datapath cannot ask; it sends to a client whose next hop
// the kernel does not know by the way that the request came, which with a director
// in front is that director.
func (w *ways) askGateways() {
	seen := make(neighbours)
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		// Whoever cannot be asked for now is asked for next time.
		paths, _ := host.DefaultRoutes(family)
		for _, path := range paths {
			if seen[path.Link] == nil {
				seen[path.Link], _ = w.routing.Neighbours(path.Link)
			}
			if path.Gateway.IsValid() && !seen[path.Link][path.Gateway].Static {
				_ = w.routing.AskNeighbour(path.Link, path.Gateway)
			}
		}
	}
}
