// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// Sizes of frames in bytes, of bpf/bench.bpf.c: FRAME_SIZE and FRAME6_SIZE.
const (
	frameSize  = 64
	frame6Size = 80
)

// What the frames that the director receives have in common.
var (
	directorMAC = [6]byte{2, 0, 0, 0, 0, 1}
	clientMAC   = [6]byte{2, 0, 0, 0, 0x0c, 2}
)

// tcpFlags are byte 13 of a TCP header.
type tcpFlags uint8

const (
	syn tcpFlags = 0x02
	ack tcpFlags = 0x10
)

// stream is packets of one kind: of flows 0 to flows-1, which differ in their
// clients' addresses and ports.
type stream struct {
	udp     bool
	flags   tcpFlags   // of TCP
	vip     netip.Addr // where clients send to
	servers netip.Addr // the first real server, if packets come from those
	clients netip.Addr // the first
	flows   int        // a power of two, unless random
	random  bool       // no order that a CPU foresees; else one after the other
	last    uint32     // the flow that was sent last
}

// driver sends packets to a program through one that restores them.
type driver struct {
	objects benchObjects
	kept    link.Link
}

// newDriver makes the floors' memory as large as a table for so many flows.
func newDriver(flows int) (*driver, error) {
	spec, err := loadBench()
	if err != nil {
		return nil, fmt.Errorf("read driver: %w", err)
	}
	lines := uint32(flows + flows/8)
	spec.Maps[benchMapLines].MaxEntries = lines
	if err := spec.Variables[benchVarLineCount].Set(lines); err != nil {
		return nil, fmt.Errorf("set memory of driver: %w", err)
	}
	var d driver
	if err := spec.LoadAndAssign(&d.objects, nil); err != nil {
		return nil, fmt.Errorf("load driver: %w", err)
	}
	return &d, nil
}

// keep attaches the driver to a link that nothing comes in by. A program that is
// attached nowhere enters the kernel's XDP dispatcher for each test run, and
// leaves it after: both wait until no CPU is in it (net/bpf/test_run.c:
// bpf_prog_test_run_xdp), far longer than most runs take.
func (d *driver) keep(name string) error {
	l, err := host.LinkByName(name)
	if err != nil {
		return err
	}
	d.kept, err = link.AttachXDP(link.XDPOptions{Program: d.objects.Drive, Interface: l.Index, Flags: link.XDPGenericMode})
	if err != nil {
		return fmt.Errorf("attach driver to %s: %w", name, err)
	}
	return nil
}

func (d *driver) close() error {
	var err error
	if d.kept != nil {
		err = d.kept.Close()
	}
	return errors.Join(err, d.objects.Close())
}

// span is when packets were sent, by the kernel's clock in nanoseconds.
type span struct {
	started, stopped uint64
}

func (s span) length() float64 { return float64(s.stopped - s.started) }

// send sends warm packets unmeasured and then others, and returns when it sent those.
func (d *driver) send(to *ebpf.Program, s *stream, warm, packets int) (span, error) {
	if err := d.objects.Target.Put(uint32(0), to); err != nil {
		return span{}, fmt.Errorf("set program: %w", err)
	}
	batch := s.batch(warm, packets)
	if err := d.objects.Batch.Set(&batch); err != nil {
		return span{}, fmt.Errorf("write batch: %w", err)
	}
	_, err := d.objects.Drive.Run(&ebpf.RunOptions{
		Data:   make([]byte, s.frameSize()),
		Repeat: uint32(warm + packets + 1), // once more to stop the clock
	})
	if err != nil {
		return span{}, fmt.Errorf("run driver: %w", err)
	}
	if err := d.objects.Batch.Get(&batch); err != nil {
		return span{}, fmt.Errorf("read batch: %w", err)
	}
	if batch.Sent != batch.Total || batch.Stopped <= batch.Started {
		return span{}, fmt.Errorf("driver sent %d packets of %d", batch.Sent, batch.Total)
	}
	s.last = batch.Flow
	return span{batch.Started, batch.Stopped}, nil
}

// batch is what the driver is told. Headers are in network order.
func (s *stream) batch(warm, packets int) benchBatch {
	b := benchBatch{
		Warm: uint64(warm), Total: uint64(warm + packets),
		Flow: s.last, Factor: 1, Step: 1, Mask: uint32(s.flows - 1),
		Clients: hostOrder(s.clients), Vip: bits.ReverseBytes32(hostOrder(s.vip)),
	}
	if s.servers.IsValid() {
		b.Servers = hostOrder(s.servers)
	}
	if s.random {
		// Knuth, The Art of Computer Programming 2, 3.2.1.2, theorem A:
		// full period, as the factor is 1 modulo 4 and the step odd.
		b.Factor, b.Step = 1664525, 1013904223
		if s.flows&(s.flows-1) != 0 {
			b.Mask, b.Scale = math.MaxUint32, uint32(s.flows)
		}
	}
	frame := s.frame()
	if s.vip.Is6() {
		frame[12], frame[13] = 0x86, 0xdd
		b.Ip6 = [2]uint32{binary.NativeEndian.Uint32([]byte{0x60, 0, 0, 0}), binary.NativeEndian.Uint32([]byte{0, 20, 6, 64})}
	}
	word := binary.NativeEndian.Uint32
	b.Link.Macs = binary.NativeEndian.Uint64(frame[0:])
	b.Link.MacRest = word(frame[8:])
	b.Link.H_proto = binary.NativeEndian.Uint16(frame[12:])
	for i := range b.Segment.Ip {
		b.Segment.Ip[i] = word(frame[14+4*i:])
	}
	for i := range b.Segment.Tcp {
		b.Segment.Tcp[i] = word(frame[38+4*i:])
	}
	return b
}

// frame is an Ethernet, an IPv4 and a TCP header without what the flow says and
// without checksums: nobody on the way verifies those.
func (s *stream) frame() [frameSize]byte {
	var f [frameSize]byte
	copy(f[0:], directorMAC[:])
	copy(f[6:], clientMAC[:])
	copy(f[12:], []byte{0x08, 0x00})
	copy(f[14:], []byte{0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6})
	if s.udp {
		f[23] = unix.IPPROTO_UDP
		copy(f[38:], []byte{0, 20, 1, 1}) // with a checksum, which then has to be kept right
		return f
	}
	f[46] = 5 << 4
	f[47] = byte(s.flags)
	return f
}

func (s *stream) frameSize() int {
	if s.vip.Is6() {
		return frame6Size
	}
	return frameSize
}

// hostOrder returns the last 32 bits of an address. Before them an IPv6 one has
// bpf/bench.bpf.c: PREFIX6.
func hostOrder(a netip.Addr) uint32 {
	b := a.As16()
	return binary.BigEndian.Uint32(b[12:])
}
