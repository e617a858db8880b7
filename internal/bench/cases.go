// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// macSwap is the floor that ratios are to.
const macSwap = "mac-swap"

// prepare makes the tables, fills them and lists what is measured.
func (b *bench) prepare(ctx context.Context) error {
	b.addFloors()
	for _, s := range []service{direct, tunnel, nat} {
		if err := b.addEstablished(ctx, s); err != nil {
			return err
		}
	}
	if err := b.addTwoArmed(ctx); err != nil {
		return err
	}
	if err := b.addIPv6(ctx); err != nil {
		return err
	}
	if err := b.addNew(ctx); err != nil {
		return err
	}
	b.addForeign()
	return nil
}

// openPlane makes a table with room to spare: at the fill that it is built for
// some connections find none, and packets of those would cost something else.
func (b *bench) openPlane() (*plane, error) {
	p, err := openPlane(b.config.Flows * 5 / 4)
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
		b.floors = append(b.floors, &trial{
			name: floor.name, program: floor.program, stream: &floor.stream, packets: b.config.Packets,
		})
	}
}

// size names the random flows: random-1m.
func (b *bench) size() string {
	switch flows := b.config.Flows; {
	case flows >= 1<<20:
		return fmt.Sprintf("random-%dm", flows>>20)
	case flows >= 1<<10:
		return fmt.Sprintf("random-%dk", flows>>10)
	default:
		return fmt.Sprintf("random-%d", flows)
	}
}

// addEstablished adds one hot and many random connections of a service, that
// has a table to itself.
func (b *bench) addEstablished(ctx context.Context, s service) error {
	p, err := b.openPlane()
	if err != nil {
		return err
	}
	if err := p.establish(ctx, b.driver, s, b.config.Flows); err != nil {
		return err
	}
	name, from := s.name, netip.Addr{}
	if s == nat {
		if err := p.reply(b.driver, s, b.config.Flows); err != nil {
			return err
		}
		b.addFlows(p, "nat-out", s, s.rip, "masq-out")
		name = "nat-in"
	}
	b.addFlows(p, name, s, from, s.verdict)
	return nil
}

// addTwoArmed adds what leaves by another interface than it came in by. Its
// connection has a table to itself: in a crowded one it might find no room.
func (b *bench) addTwoArmed(ctx context.Context) error {
	p, err := b.openPlane()
	if err != nil {
		return err
	}
	if err := p.establish(ctx, b.driver, twoArmed, 1); err != nil {
		return err
	}
	hot := &stream{flags: ack, vip: twoArmed.vip, clients: establishedClients, flows: 1}
	b.add(p, twoArmed.name+"-established", hot, twoArmed.verdict)
	return nil
}

// addIPv6 adds one hot connection of each method, in a table for all of them.
func (b *bench) addIPv6(ctx context.Context) error {
	p, err := b.openPlane()
	if err != nil {
		return err
	}
	for _, s := range []service{direct6, tunnel6, nat6} {
		if err := p.establish(ctx, b.driver, s, 1); err != nil {
			return err
		}
		requests := &stream{flags: ack, vip: s.vip, clients: establishedClients, flows: 1}
		if s.forwarding != ipvs.Masq {
			b.add(p, s.name+"-established", requests, s.verdict)
			continue
		}
		if err := p.reply(b.driver, s, 1); err != nil {
			return err
		}
		replies := *requests
		replies.servers = s.rip
		b.add(p, "nat-in-v6-established", requests, s.verdict)
		b.add(p, "nat-out-v6-established", &replies, "masq-out")
	}
	return nil
}

func (b *bench) addFlows(p *plane, name string, s service, from netip.Addr, verdict string) {
	hot := stream{flags: ack, vip: s.vip, servers: from, clients: establishedClients, flows: 1}
	random := hot
	random.flows, random.random = b.config.Flows, true
	b.add(p, name+"-established", &hot, verdict)
	b.add(p, name+"-"+b.size(), &random, verdict)
}

func (b *bench) add(p *plane, name string, packets *stream, verdict string) *trial {
	t := &trial{
		name: name, program: p.Program(), stream: packets, packets: b.config.Packets,
		plane: p, verdict: verdict,
	}
	b.cases = append(b.cases, t)
	return t
}

// addNew adds connections that are new, into a table that is empty, half full
// and full of half-open connections.
func (b *bench) addNew(ctx context.Context) error {
	p, err := b.openPlane()
	if err != nil {
		return err
	}
	empty := p.memory.save()
	if err := p.establish(ctx, b.driver, direct, b.config.Flows/2); err != nil {
		return err
	}
	half := p.memory.save()
	if err := p.flood(b.driver, direct, 3*b.config.Flows); err != nil {
		return err
	}
	full := p.memory.save()
	for _, s := range []service{direct, tunnel, nat, weighted} {
		name := s.name
		if s == nat {
			name = "nat-in"
		}
		for _, table := range []struct {
			suffix string
			before image
		}{{"", empty}, {"-half-full", half}, {"-full", full}} {
			t := b.add(p, name+"-new"+table.suffix, s.newFlows(newClients), s.verdict)
			t.before = table.before
			t.packets = b.config.Flows / 64 // so few that the table stays what it is called
		}
	}
	return nil
}

// addForeign adds packets for an address without a service.
func (b *bench) addForeign() {
	foreign := &stream{flags: ack, vip: address(198, 18, 0, 1), clients: establishedClients, flows: 1}
	b.add(b.planes[0], "not-ours", foreign, "not-ours")
}
