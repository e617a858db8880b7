// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
)

const (
	// loopback is the interface that BPF_PROG_TEST_RUN lets packets come in by.
	loopback   = 1
	secondPort = "port2"
	idleLink   = "port2-peer"
)

// plane is a datapath of its own, with all services and what is entered in it.
type plane struct {
	*dataplane.Dataplane
	memory memory
}

func openPlane(connections int) (*plane, error) {
	d, err := dataplane.Open(dataplane.Config{Connections: connections})
	if err != nil {
		return nil, err
	}
	p := &plane{Dataplane: d}
	if err := p.configure(services); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if p.memory, err = mapMemory(d.LongWay()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return p, nil
}

func (p *plane) close() error {
	return errors.Join(p.memory.unmap(), p.Close())
}

func (p *plane) configure(services []service) error {
	second, err := host.LinkByName(secondPort)
	if err != nil {
		return err
	}
	ports := map[string]int{"lo": loopback, secondPort: second.Index}
	var interfaces []dataplane.Interface
	for _, index := range ports {
		interfaces = append(interfaces, dataplane.Interface{
			Index: index, MAC: directorMAC[:], MTU: 1500, Mode: dataplane.Native,
		})
	}
	if err := p.SetInterfaces(interfaces); err != nil {
		return err
	}
	for _, s := range services {
		for _, change := range s.changes() {
			if err := p.Apply(change); err != nil {
				return fmt.Errorf("%s: %w", change, err)
			}
		}
		for rip := range s.realServers() {
			p.SetNextHop(rip, dataplane.NextHop{
				Interface: ports[s.port],
				Source:    directorMAC[:],
				Neighbour: []byte{2, 0, 0, 0, 1, rip.As16()[15]},
				MTU:       1500,
				Address:   directorAddress(rip),
			})
		}
	}
	return nil
}

func directorAddress(rip netip.Addr) netip.Addr {
	own := address(10, 0, 0, 1)
	if rip.Is6() {
		return address6(own)
	}
	return own
}

// establish enters connections: a SYN and an ACK from flows 0 to flows-1.
func (p *plane) establish(ctx context.Context, d *driver, s service, clients netip.Addr, flows int) error {
	few := max(1<<6, flows>>10) // half-open at a time: such give way to others when it gets crowded
	for first := 0; first < flows; first += few {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, flags := range []tcpFlags{syn, ack} {
			packets := stream{flags: flags, vip: s.vip, clients: clients, flows: 1 << 30, last: uint32(first - 1)}
			if _, err := d.send(p.Program(), &packets, 0, min(few, flows-first)); err != nil {
				return fmt.Errorf("establish connections of %s: %w", s.name, err)
			}
		}
	}
	return nil
}

// reply sends a packet from the real server of each flow: the first looks up
// the way to the client.
func (p *plane) reply(d *driver, s service, clients netip.Addr, flows int) error {
	packets := stream{flags: ack, vip: s.vip, servers: s.rip, clients: clients, flows: flows, last: uint32(flows - 1)}
	if _, err := d.send(p.Program(), &packets, 0, flows); err != nil {
		return fmt.Errorf("reply to connections of %s: %w", s.name, err)
	}
	return nil
}

// flood sends SYNs of flows that are never seen again.
func (p *plane) flood(d *driver, s service, packets int) error {
	if _, err := d.send(p.Program(), s.newFlows(floodClients), 0, packets); err != nil {
		return fmt.Errorf("flood %s: %w", s.name, err)
	}
	return nil
}
