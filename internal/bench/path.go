// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// PathConfig says how long to measure whole ways of packets.
type PathConfig struct {
	Rounds  int
	Packets int // of a case in a round, of one connection hotTimes as many, a multiple of batchSize
}

// ThePath is what figures are comparable at.
var ThePath = PathConfig{Rounds: 5, Packets: 320 * batchSize}

// The links of the network that whole ways lead through, all in one namespace:
//
//	generator -> client0 = director0 -> the director -> director1 = server0 -> sink
//	                                                 -> nowhere0 (what the kernel sends)
const (
	clientLink  = "client0"
	inLink      = "director0"
	outLink     = "director1"
	serverLink  = "server0"
	nowhereLink = "nowhere0"
)

// path is one run of measuring whole ways.
type path struct {
	config  PathConfig
	driver  *driver
	client  host.Link
	in, out host.Link
	server  host.Link
	sinks   []link.Link
	cases   []*journey
	missing []string
}

// director is who forwards packets while its cases are measured.
type director struct {
	name    string
	begin   func() (end func() error, err error) // nil: nothing to be done
	program func() *ebpf.Program                 // on inLink; nil: the kernel's stack receives
	cases   []*journey
}

// journey is packets of one kind that go the whole way.
type journey struct {
	name   string
	stream *stream
	seen   func() (uint64, error) // counts those that have arrived
	times  []float64              // of rounds, in nanoseconds a packet
}

// RunPath measures what packets cost from a generator through a director to a
// sink, on one CPU and in a network namespace of their own: directors of ours,
// floors, and those of the kernel that the machine has.
func RunPath(ctx context.Context, config PathConfig) (PathReport, error) {
	var report PathReport
	err := onOwnThread(func() (err error) {
		p := &path{config: config}
		report, err = p.run(ctx)
		return err
	})
	return report, err
}

func (p *path) run(ctx context.Context) (report PathReport, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return report, fmt.Errorf("make network namespace: %w (root is needed)", err)
	}
	if _, err := takeLastCPU(); err != nil {
		return report, err
	}
	if p.driver, err = newDriver(usualServers); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.connect(); err != nil {
		return report, err
	}
	for _, make := range []func() ([]director, error){p.floors, p.ours, p.kernels} {
		directors, err := make()
		if err != nil {
			return report, err
		}
		for _, d := range directors {
			if err := p.measure(ctx, d); err != nil {
				return report, fmt.Errorf("measure %s: %w", d.name, err)
			}
		}
	}
	return p.report(), nil
}

func (p *path) close() error {
	var errs []error
	for _, sink := range p.sinks {
		errs = append(errs, sink.Close())
	}
	return errors.Join(append(errs, p.driver.close())...)
}

// connect makes the network.
func (p *path) connect() (err error) {
	if err := host.AddVeth(host.VethEnd{Name: clientLink}, host.VethEnd{Name: inLink, MAC: directorMAC[:]}); err != nil {
		return err
	}
	if err := host.AddVeth(host.VethEnd{Name: outLink}, host.VethEnd{Name: serverLink}); err != nil {
		return err
	}
	if err := addNowhere(); err != nil {
		return err
	}
	for _, name := range []string{"lo", clientLink, inLink, outLink, serverLink, nowhereLink} {
		if err := host.SetUp(name); err != nil {
			return err
		}
	}
	for name, at := range map[string]*host.Link{clientLink: &p.client, inLink: &p.in, outLink: &p.out, serverLink: &p.server} {
		if *at, err = host.LinkByName(name); err != nil {
			return err
		}
	}
	for _, sink := range []host.Link{p.client, p.server} {
		attached, err := p.attach(sink, p.driver.objects.Sink)
		if err != nil {
			return err
		}
		p.sinks = append(p.sinks, attached)
	}
	return errors.Join(p.driver.objects.Ways.Put(uint32(0), uint32(p.out.Index)), p.routeKernel())
}

// addNowhere makes a link that drops what it sends: a bridge without ports does,
// too, where the kernel has no dummies.
func addNowhere() error {
	err := host.AddDummy(nowhereLink)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = host.AddBridge(nowhereLink)
	}
	if err != nil {
		return err
	}
	return host.SetNoARP(nowhereLink)
}

// routeKernel makes the kernel's stack receive, forward, and send to nowhere.
func (p *path) routeKernel() error {
	for sysctl, value := range map[host.Sysctl]int{
		"net/ipv4/ip_forward":                     1,
		host.InterfaceSysctl("all", "rp_filter"):  0,
		host.InterfaceSysctl(inLink, "rp_filter"): 0,
	} {
		if err := sysctl.Write(value); err != nil {
			return err
		}
	}
	for _, network := range []string{"10.0.0.0/8", "100.64.0.0/10"} {
		if err := host.AddRoute(netip.MustParsePrefix(network), netip.Addr{}, nowhereLink); err != nil {
			return err
		}
	}
	return host.SetReceiveOffload(inLink, true) // a veth takes frames in only so, or by XDP
}

func (p *path) attach(l host.Link, program *ebpf.Program) (link.Link, error) {
	attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: l.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach XDP to %s: %w", l.Name, err)
	}
	return attached, nil
}

// measure lets one director forward, in rounds of all its cases.
func (p *path) measure(ctx context.Context, d director) (err error) {
	if d.begin != nil {
		end, err := d.begin()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	if d.program != nil {
		attached, err := p.attach(p.in, d.program())
		if err != nil {
			return err
		}
		defer attached.Close()
	}
	for round := range p.config.Rounds + 1 {
		for _, j := range d.cases {
			if err := ctx.Err(); err != nil {
				return err
			}
			ns, err := p.send(j)
			if err != nil {
				return fmt.Errorf("%s: %w", j.name, err)
			}
			if round > 0 { // the first warms up, and enters connections
				j.times = append(j.times, ns)
			}
		}
	}
	p.cases = append(p.cases, d.cases...)
	return nil
}

// strayed is how many packets in a hundred may not have arrived: those that the
// kernel's own thread is left with at the end, and none but those.
const strayed = 1

// hotTimes is large: what else the machine does now and then would else be a twentieth of
// what a packet costs. Packets that begin connections would fill the table with so many.
const hotTimes = 5

// send sends a round's packets: nanoseconds for each.
func (p *path) send(j *journey) (float64, error) {
	packets := p.config.Packets
	if j.stream.flows == 1 {
		packets *= hotTimes
	}
	before, err := j.seen()
	if err != nil {
		return 0, err
	}
	ns, err := p.driver.generate(j.stream, p.client.Index, packets)
	if err != nil {
		return 0, err
	}
	after, err := j.seen()
	if err != nil {
		return 0, err
	}
	if arrived := after - before; arrived*100 < uint64(packets)*(100-strayed) {
		return 0, fmt.Errorf("%d of %d packets arrived", arrived, packets)
	}
	return ns, nil
}
