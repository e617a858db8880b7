// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"slices"
)

// fills are what a table holds when new connections come: nothing, half of what
// it has room for, or half-open connections wherever there is room.
var fills = []string{"", "-half-full", "-full"}

// addNew adds connections that are new.
func (b *bench) addNew(ctx context.Context) error {
	var all []string
	newServices := newServices
	if b.config.Schedulers {
		newServices = slices.Concat(newServices, scheduled)
	}
	for _, s := range newServices {
		for _, fill := range fills {
			all = append(all, s.newName()+fill)
		}
	}
	if !b.wants(all...) {
		return nil
	}
	p, err := b.openPlane(b.config.Flows)
	if err != nil {
		return err
	}
	if err := p.configure(scheduled); err != nil {
		return err
	}
	images := map[string]image{fills[0]: p.memory.save()}
	if err := p.establish(ctx, b.driver, direct, establishedClients, b.config.Flows/2); err != nil {
		return err
	}
	images[fills[1]] = p.memory.save()
	if err := p.flood(b.driver, direct, 2*b.config.Flows); err != nil {
		return err
	}
	images[fills[2]] = p.memory.save()
	for _, s := range newServices {
		for _, fill := range fills {
			t := b.add(p, s.newName()+fill, s.newFlows(newClients), s.verdict)
			t.before = images[fill]
			t.packets = b.newPackets()
		}
	}
	return nil
}

// newPackets are so few that the table stays what it is called.
func (b *bench) newPackets() int { return b.config.Flows / 64 }
