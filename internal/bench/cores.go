// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"text/tabwriter"
)

// Scaling is what a second CPU brings: two generators with flows of their own
// beside one.
type Scaling struct {
	Name  string  `json:"name"`
	One   float64 `json:"oneNs"` // a packet, of one generator alone
	Two   float64 `json:"twoNs"` // a packet, of both together
	Times float64 `json:"times"` // as many packets in the same time
}

// pair is a case on two CPUs.
type pair struct {
	name     string
	halves   [2]*trial // each alone
	both     *trial
	together []float64 // of rounds, in nanoseconds a packet
}

const twoCores = "-two-cores"

// addPairs lists what is measured on two CPUs, if there are two: a floor, and
// packets of one table's connections.
func (b *bench) addPairs(ctx context.Context) (err error) {
	hot, all, fresh := "dr-established"+twoCores, "dr-"+b.size()+twoCores, "dr-new"+twoCores
	if len(b.cpus) < 2 || !b.wants(macSwap+twoCores, hot, all, fresh) {
		return nil
	}
	if b.second, err = startGenerator(b.cpus[0], secondPort); err != nil {
		return err
	}
	if b.direct == nil {
		if b.direct, err = b.openPlane(b.config.Flows); err != nil {
			return err
		}
		if err := b.direct.establish(ctx, b.driver, direct, establishedClients, b.config.Flows); err != nil {
			return err
		}
	}
	half := b.config.Flows / 2
	clients := [2]netip.Addr{establishedClients, clientOf(establishedClients, half)}
	one := func(clients netip.Addr) *stream {
		return &stream{flags: ack, vip: direct.vip, clients: clients, flows: 1}
	}
	b.addPair(macSwap+twoCores, b.trialOn(nil), one(clients[0]), one(clients[1]))
	b.addPair(hot, b.trialOn(b.direct), one(clients[0]), one(clients[1]))
	many := func(clients netip.Addr) *stream {
		return &stream{flags: ack, vip: direct.vip, clients: clients, flows: half, random: true}
	}
	waiting := b.trialOn(b.direct)
	waiting.packets = max(1, b.config.Packets/8) // each takes longer, and both CPUs must be left alone meanwhile
	b.addPair(all, waiting, many(clients[0]), many(clients[1]))
	entered := b.trialOn(b.direct)
	entered.before, entered.packets = b.direct.memory.save(), b.newPackets()
	b.addPair(fresh, entered, direct.newFlows(newClients), direct.newFlows(secondClients))
	return nil
}

// trialOn is packets to a plane by DR, nil: to the floor.
func (b *bench) trialOn(p *plane) trial {
	t := trial{program: b.driver.objects.FloorMacSwap, packets: b.config.Packets}
	if p != nil {
		t.plane, t.program, t.verdict = p, p.Program(), direct.verdict
	}
	return t
}

// addPair has two streams measured, each alone and both together.
func (b *bench) addPair(name string, t trial, first, second *stream) {
	if !b.wants(name) {
		return
	}
	one, other, both := t, t, t
	one.stream, other.stream = first, second
	both.packets *= 2
	b.pairs = append(b.pairs, &pair{name: name, halves: [2]*trial{&one, &other}, both: &both})
}

// measure sends a round's packets from one CPU, from the other, and from both.
func (p *pair) measure(first *driver, second *generator) error {
	if err := p.halves[0].measure(first); err != nil {
		return err
	}
	second.begin(func() error { return p.halves[1].measure(second.driver) })
	if err := second.end(); err != nil {
		return err
	}
	return p.both.watch(func() error { return p.meet(first, second) })
}

// meet has both send at once. Packets that one sends while the other has not
// begun, or is done, take the whole time to themselves: they count against the pair.
func (p *pair) meet(first *driver, second *generator) error {
	var one, other span
	var ready atomic.Int32
	second.begin(func() (err error) {
		rendezvous(&ready)
		other, err = p.halves[1].send(second.driver)
		return err
	})
	rendezvous(&ready)
	one, err := p.halves[0].send(first)
	if ended := second.end(); err == nil {
		err = ended
	}
	if err != nil {
		return err
	}
	whole := span{min(one.started, other.started), max(one.stopped, other.stopped)}
	p.together = append(p.together, whole.length()/float64(p.both.packets))
	return nil
}

// rendezvous waits for the other of two. It does not sleep: to be woken takes
// as long as a thousand packets do, or ten thousand where others are at work.
func rendezvous(ready *atomic.Int32) {
	ready.Add(1)
	for ready.Load() < 2 {
	}
}

func (p *pair) scaling() Scaling {
	one := (percentile(p.halves[0].times, 10) + percentile(p.halves[1].times, 10)) / 2
	two := percentile(p.together, 10)
	return Scaling{p.name, round(one, 1), round(two, 1), round(one/two, 2)}
}

func printCores(w io.Writer, cores []Scaling) error {
	if len(cores) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "two CPUs\tns of one\tof both\ttimes\t\n")
	for _, c := range cores {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.2f\t\n", c.Name, c.One, c.Two, c.Times)
	}
	return t.Flush()
}
