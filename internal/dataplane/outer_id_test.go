// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Outer headers that may be fragmented have ids by which a real server tells their packets
// apart: what a CPU sends in turn has as many as there are, whichever way it takes.
func TestOuterIDs(t *testing.T) {
	enterNamespace(t)
	stayOnThisCPU(t)
	d, err := Open(Config{Connections: 1024}) // whose clock runs
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, Dataplane: d}
	defer b.close()
	if err := d.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: 9000}}); err != nil {
		t.Fatal(err)
	}
	b.apply("-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -i")
	outerID(t, d.program, frame(clientMAC, tcp(client, vip, "S")))
	packet := frame(clientMAC, withoutDF(tcp(client, vip, "A")))
	seen := make(map[uint16]bool)
	for n := range 1 << 16 {
		program := d.program
		if n%2 == 1 {
			program = d.longWay
		}
		id := outerID(t, program, packet)
		if seen[id] {
			t.Fatalf("packet %d has id %#04x, which another had", n, id)
		}
		seen[id] = true
	}
}

// outerID sends a packet, and returns the id of the header that was put in front.
func outerID(t *testing.T, program *ebpf.Program, packet []byte) uint16 {
	t.Helper()
	run := &ebpf.RunOptions{Data: packet, DataOut: make([]byte, len(packet)+64)}
	action, err := program.Run(run)
	if err != nil {
		t.Fatal(err)
	}
	if action != xdpTX || run.DataOut[14+9] != unix.IPPROTO_IPIP {
		t.Fatalf("XDP action %d, protocol %d; want %d and a tunnel", action, run.DataOut[14+9], xdpTX)
	}
	return binary.BigEndian.Uint16(run.DataOut[14+4:])
}

// stayOnThisCPU keeps the test's thread, which ends with it, on one CPU.
func stayOnThisCPU(t *testing.T) {
	t.Helper()
	var cpu unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpu); err != nil {
		t.Fatal(err)
	}
	for i := 0; cpu.Count() > 1; i++ {
		cpu.Clear(i)
	}
	if err := unix.SchedSetaffinity(0, &cpu); err != nil {
		t.Fatal(err)
	}
}
