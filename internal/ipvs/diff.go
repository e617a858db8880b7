// SPDX-License-Identifier: Apache-2.0

package ipvs

import "slices"

// Diff returns the changes that turn have into want.
//
// Additions and edits come before removals, so a service that keeps anything is
// never empty in between. Destinations are added oldest first. The order of what
// both tables have is left alone: only removal could change it.
func Diff(have, want Table) []Change {
	var changes, removals []Change
	for _, w := range want.Services {
		h := have.Find(w.Key)
		if h == nil {
			changes = append(changes, Change{Op: AddService, Service: w.bare()})
			h = &Service{Key: w.Key}
		} else if !h.sameOptions(w) {
			changes = append(changes, Change{Op: EditService, Service: w.bare()})
		}
		if h.Settings != w.Settings {
			changes = append(changes, Change{Op: SetService, Service: Service{Key: w.Key, Settings: w.Settings}})
		}
		added, removed := diffDestinations(*h, w)
		changes = append(changes, added...)
		removals = append(removals, removed...)
	}
	for _, h := range have.Services {
		if want.Find(h.Key) == nil {
			removals = append(removals, Change{Op: DeleteService, Service: Service{Key: h.Key}})
		}
	}
	return append(changes, removals...)
}

func diffDestinations(have, want Service) (changes, removals []Change) {
	key := Service{Key: want.Key}
	for _, d := range slices.Backward(want.Destinations) {
		switch i := have.find(d.RIP); {
		case i < 0:
			changes = append(changes, Change{Op: AddDestination, Service: key, Destination: d})
		case have.Destinations[i] != d:
			changes = append(changes, Change{Op: EditDestination, Service: key, Destination: d})
		}
	}
	for _, d := range have.Destinations {
		if want.find(d.RIP) < 0 {
			gone := Destination{RIP: d.RIP}
			removals = append(removals, Change{Op: DeleteDestination, Service: key, Destination: gone})
		}
	}
	return changes, removals
}

// bare returns the service without its destinations and settings.
func (s Service) bare() Service {
	s.Destinations, s.Settings = nil, ServiceSettings{}
	return s
}

func (s Service) sameOptions(o Service) bool {
	return s.Scheduler == o.Scheduler && s.Flags == o.Flags && s.Timeout == o.Timeout &&
		s.Netmask == o.Netmask && s.Engine == o.Engine
}
