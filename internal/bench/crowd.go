// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
)

// crowd is how many services there are beside the one that packets are for.
const crowd = 1000

// addCrowd adds connections, old and new, and packets for no service, in a
// table with many services: what it costs must not depend on those.
func (b *bench) addCrowd(ctx context.Context) error {
	beside := fmt.Sprintf("%d-services", crowd)
	hot, fresh, foreign := "dr-"+beside+"-established", "dr-"+beside+"-new", "not-ours-"+beside
	if !b.wants(hot, fresh, foreign) {
		return nil
	}
	p, err := b.openPlane(b.config.Flows)
	if err != nil {
		return err
	}
	if err := p.addServices(ctx, crowd); err != nil {
		return err
	}
	if err := p.establish(ctx, b.driver, direct, establishedClients, 1); err != nil {
		return err
	}
	b.add(p, hot, &stream{flags: ack, vip: direct.vip, clients: establishedClients, flows: 1}, direct.verdict)
	entered := b.add(p, fresh, direct.newFlows(newClients), direct.verdict)
	entered.before, entered.packets = p.memory.save(), b.newPackets()
	// Of all addresses: some share a bit of the filter with a service's.
	others := &stream{flags: ack, vip: direct.vip, servers: foreigners, clients: foreigners, flows: b.config.Flows, random: true}
	b.add(p, foreign, others, notOurs)
	return nil
}
