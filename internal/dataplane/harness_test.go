// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
	"github.com/lvsx/lvsx/internal/testenv"
)

// loopback is the interface that BPF_PROG_TEST_RUN lets packets come in by.
const loopback = 1

var (
	directorMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	clientMAC   = net.HardwareAddr{2, 0, 0, 0, 0x0c, 2} // the clients' gateway, as in the recordings
)

// serverMAC is real server N's, as in the recordings.
func serverMAC(n byte) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, 1, n/10*16 + n%10}
}

// bench drives the very program that is attached, with packets made by hand and
// a clock that stands still.
type bench struct {
	t *testing.T
	*Dataplane
}

// outcome is what became of a packet.
type outcome struct {
	verdict string
	state   string
	action  uint32
	mac     net.HardwareAddr // where it was sent, nil if it was not
	ip      []byte           // the IP packet as it left
}

const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// newBench loads a datapath in a network namespace without routes or
// neighbours, and puts in the changes written as ipvsadm's restore lines.
func newBench(t *testing.T, lines ...string) *bench {
	t.Helper()
	return newBenchOf(t, 4096, lines...)
}

func newBenchOf(t *testing.T, connections int, lines ...string) *bench {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	runtime.LockOSThread() // for good: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Config{Connections: connections, program: directorProgDirectorAt})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t, d}
	err = d.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: 9000, Mode: Generic}})
	if err != nil {
		t.Fatal(err)
	}
	b.at(1 << 20)
	b.apply(lines...)
	return b
}

// at sets the clock, in ticks.
func (b *bench) at(now uint32) {
	b.t.Helper()
	if err := b.test.Set(directorTestCase{Now: now, Dice: 0x1234}); err != nil {
		b.t.Fatal(err)
	}
}

// ipvsadm runs one command line and returns what it printed.
func (b *bench) ipvsadm(args string) string {
	b.t.Helper()
	var out bytes.Buffer
	p := &ipvsadm.Program{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Open: func() (ipvsadm.Director, error) { return b, nil },
	}
	p.Run(append([]string{"ipvsadm"}, strings.Fields(args)...))
	return out.String()
}

// apply runs command lines that must succeed, and resolves the real servers as
// the recordings have them.
func (b *bench) apply(lines ...string) {
	b.t.Helper()
	for _, line := range lines {
		if out := b.ipvsadm(line); out != "" {
			b.t.Fatalf("ipvsadm %s: %s", line, out)
		}
	}
	for _, rip := range b.RealServers() {
		octets := rip.As4()
		b.SetNextHop(rip, NextHop{
			Interface: loopback,
			Source:    directorMAC,
			Neighbour: serverMAC(octets[3]),
			MTU:       1500,
			Address:   netip.MustParseAddr("192.168.1.1"),
		})
	}
}

// Apply, Services, Service and Conns make a bench an ipvsadm.Director. Expiry
// goes by the test's clock.
func (b *bench) Apply(changes ...ipvs.Change) (int, error) {
	for i, c := range changes {
		if err := b.Dataplane.Apply(c); err != nil {
			return i, err
		}
	}
	return len(changes), nil
}

func (b *bench) Services() ([]ipvs.ServiceStatus, error) {
	return b.Dataplane.Services(), nil
}

// send puts an IP packet from one side on the director's interface.
func (b *bench) send(from net.HardwareAddr, ip []byte) outcome {
	b.t.Helper()
	frame := append(append(append(append([]byte{}, directorMAC...), from...), 8, 0), ip...)
	return b.sendFrame(frame)
}

func (b *bench) sendFrame(frame []byte) outcome {
	b.t.Helper()
	// The kernel's test run takes frames of an Ethernet header and more.
	out := make([]byte, len(frame)+256)
	run := &ebpf.RunOptions{Data: frame, DataOut: out}
	action, err := b.program.Run(run)
	if err != nil {
		b.t.Fatalf("run %x: %v", frame, err)
	}
	var told directorTestCase
	if err := b.test.Get(&told); err != nil {
		b.t.Fatal(err)
	}
	o := outcome{action: action, verdict: verdictNames[told.Verdict], state: stateNames[told.State]}
	left := run.DataOut
	if len(left) >= 14 {
		o.ip = left[14:]
	}
	if action == xdpTX || action == xdpRedirect {
		o.mac = net.HardwareAddr(left[:6])
	}
	return o
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seconds turns a time into ticks of the bench's clock.
func (b *bench) seconds(s int) uint32 {
	return b.clock.ticks(time.Duration(s) * time.Second)
}
