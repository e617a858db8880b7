// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// macSwap is the floor that ratios are to.
const macSwap = "mac-swap"

// prepare makes the tables, fills them and lists what is measured.
func (b *bench) prepare(ctx context.Context) error {
	b.addFloors()
	for _, s := range []service{direct, tunnel, nat, direct6, tunnel6, nat6} {
		if err := b.addEstablished(ctx, s); err != nil {
			return err
		}
		if err := b.addLarge(ctx, s); err != nil {
			return err
		}
	}
	if err := b.addHot(ctx, twoArmed); err != nil {
		return err
	}
	for _, add := range []func(context.Context) error{b.addNew, b.addForeign, b.addCrowd, b.addPairs, b.addTasks} {
		if err := add(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wants tells whether one of the cases is to be measured.
func (b *bench) wants(cases ...string) bool {
	return b.config.Cases == nil || slices.ContainsFunc(cases, b.config.Cases.MatchString)
}

// openPlane makes a table with room to spare: at the fill that it is built for
// some connections find none, and packets of those would cost something else.
func (b *bench) openPlane(flows int) (*plane, error) {
	p, err := openPlane(max(flows*5/4, 1<<12))
	if err == nil {
		b.planes = append(b.planes, p)
	}
	return p, err
}

func (b *bench) addFloors() {
	o := &b.driver.objects
	hot := stream{flags: ack, vip: direct.vip, clients: establishedClients, flows: 1}
	random := hot
	random.flows, random.random = b.config.Flows, true
	for _, floor := range []struct {
		name    string
		program *ebpf.Program
		stream  stream
	}{
		{macSwap, o.FloorMacSwap, hot},
		{"pass", o.FloorPass, hot},
		{"array-lookup", o.FloorArray, hot},
		{"array-lookup-" + b.size(), o.FloorArray, random},
		{"array-wait-" + b.size(), o.FloorWait, random},
		{"hash-lookup", o.FloorHash, hot},
	} {
		if floor.name != macSwap && !b.wants(floor.name) {
			continue
		}
		b.floors = append(b.floors, &trial{
			name: floor.name, program: floor.program, stream: &floor.stream, packets: b.config.Packets,
		})
	}
}

// size names the random flows: random-1m.
func (b *bench) size() string { return random(b.config.Flows) }

func random(flows int) string { return "random-" + magnitude(flows) }

func magnitude(flows int) string {
	switch {
	case flows >= 1<<20:
		return fmt.Sprintf("%dm", flows>>20)
	case flows >= 1<<10:
		return fmt.Sprintf("%dk", flows>>10)
	default:
		return fmt.Sprint(flows)
	}
}

// addEstablished adds one hot and many random connections of a service, that
// has a table to itself.
func (b *bench) addEstablished(ctx context.Context, s service) error {
	if !b.wants(b.casesOf(s, "-"+b.size())...) {
		return b.addHot(ctx, s)
	}
	p, err := b.openPlane(b.config.Flows)
	if err != nil {
		return err
	}
	if s.name == direct.name {
		b.direct = p
	}
	return b.addConnections(ctx, p, s, establishedClients, b.config.Flows)
}

// addLarge adds more random connections of a service, in a table to themselves.
func (b *bench) addLarge(ctx context.Context, s service) error {
	if b.config.Large == 0 || !b.wants(b.casesOf(s, "-"+random(b.config.Large))...) {
		return nil
	}
	p, err := b.openPlane(b.config.Large)
	if err != nil {
		return err
	}
	return b.addConnections(ctx, p, s, establishedClients, b.config.Large)
}

// hotTable is a table in which a few connections get the places that they prefer.
const hotTable = 1 << 10

// addHot adds one connection of a service, in a table with those of others.
// Its client is its own: connections of one client's port are found one after
// the other.
func (b *bench) addHot(ctx context.Context, s service) error {
	if !b.wants(b.casesOf(s, "-established")...) {
		return nil
	}
	if b.hot == nil {
		var err error
		if b.hot, err = b.openPlane(hotTable); err != nil {
			return err
		}
		b.hotClient = hotClients
	}
	b.hotClient = b.hotClient.Next()
	return b.addConnections(ctx, b.hot, s, b.hotClient, 1)
}

// addConnections enters connections of a service, and adds packets of one and,
// if there are more, of all in random order.
func (b *bench) addConnections(ctx context.Context, p *plane, s service, clients netip.Addr, flows int) error {
	if err := p.establish(ctx, b.driver, s, clients, flows); err != nil {
		return err
	}
	in, out := s.directions()
	if out != "" {
		if err := p.reply(b.driver, s, clients, flows); err != nil {
			return err
		}
		replies := &stream{flags: ack, vip: s.vip, servers: s.rip, clients: clients, flows: flows}
		b.addFlows(p, out, replies, "masq-out")
	}
	b.addFlows(p, in, &stream{flags: ack, vip: s.vip, clients: clients, flows: flows}, s.verdict)
	return nil
}

// casesOf names cases of a service, of both directions if it has two.
func (b *bench) casesOf(s service, suffix string) []string {
	in, out := s.directions()
	if out == "" {
		return []string{in + suffix}
	}
	return []string{in + suffix, out + suffix}
}

func (b *bench) addFlows(p *plane, direction string, packets *stream, verdict string) {
	hot, all := *packets, *packets
	hot.flows, all.random = 1, true
	if all.flows != b.config.Large {
		b.add(p, direction+"-established", &hot, verdict)
	}
	if all.flows > 1 {
		b.add(p, direction+"-"+random(all.flows), &all, verdict)
	}
}

// add adds a case, if it is wanted.
func (b *bench) add(p *plane, name string, packets *stream, verdict string) *trial {
	t := &trial{
		name: name, program: p.Program(), stream: packets, packets: b.config.Packets,
		plane: p, verdict: verdict,
	}
	if b.wants(name) {
		b.cases = append(b.cases, t)
	}
	return t
}

// notOurs is a case, and the verdict of its packets.
const notOurs = "not-ours"

// addForeign adds packets for an address without a service.
func (b *bench) addForeign(context.Context) error {
	if !b.wants(notOurs) {
		return nil
	}
	if len(b.planes) == 0 {
		if _, err := b.openPlane(1); err != nil {
			return err
		}
	}
	foreign := &stream{flags: ack, vip: address(198, 18, 0, 1), clients: establishedClients, flows: 1}
	b.add(b.planes[0], notOurs, foreign, notOurs)
	return nil
}
