// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/testenv"
)

const (
	largeServices = 10_000
	largeEach     = 10 // destinations
	smallTable    = "-A -t 192.0.2.1:80 -s wlc\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m\n"
)

// restoreLimit is how many times what its bare entries take to write a restore
// may take.
const restoreLimit = 5

// A table of 10,000 services is restored in a few times what its bare entries
// take to write, and then an edit costs what it costs in a small one.
func TestLargeTable(t *testing.T) {
	d := startDirector(t, "large")
	d.ipvsadm(smallTable, "-R")
	small := d.edit()
	rules := largeTable()
	d.ipvsadm(rules, "-R") // the first time memory is touched that was not
	var restore, write time.Duration
	// On a busy machine the best comes late.
	for round := 0; round < 5 || round < 20 && ratio(restore, write) > restoreLimit; round++ {
		write = best(write, writeEntries(t, largeServices*(largeEach+1)))
		d.ipvsadm("", "-C")
		restore = best(restore, d.ipvsadm(rules, "-R"))
	}
	d.ipvsadm(smallTable, "-R")
	large := d.edit()
	t.Logf("restore %v, %.1f times the %v that writing so many entries takes; edit %v, %.1f times the %v in a small table, of it %v in the director; list %v",
		restore, ratio(restore, write), write, large, ratio(large, small), small, d.change(), d.ipvsadm("", "-L", "-n"))
	if ratio(restore, write) > restoreLimit {
		t.Errorf("restore takes more than %d times what writing takes", restoreLimit)
	}
	if ratio(large, small) > 3 {
		t.Error("edit takes more than 3 times what it takes in a small table")
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func best(before, now time.Duration) time.Duration {
	if before == 0 {
		return now
	}
	return min(before, now)
}

func largeTable() string {
	var rules strings.Builder
	for i := range largeServices {
		vip := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
		fmt.Fprintf(&rules, "-A -t %s:80 -s wlc\n", vip)
		for j := range largeEach {
			rip := netip.AddrFrom4([4]byte{10, 1, byte((i + j) >> 8), byte(i + j)})
			fmt.Fprintf(&rules, "-a -t %s:80 -r %s:80 -m -w 1\n", vip, rip)
		}
	}
	return rules.String()
}

// writeEntries writes so many entries to a map, as any Go program would.
func writeEntries(t *testing.T, count int) time.Duration {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 24, ValueSize: 64, MaxEntries: uint32(count)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	start := time.Now()
	var value [64]byte
	for i := range count {
		key := [24]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		if err := m.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start)
}

// liveDirector is a director in a namespace of its own.
type liveDirector struct {
	*host.Namespace
	t *testing.T
}

func startDirector(t *testing.T, name string, args ...string) *liveDirector {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	return runDirector(t, namespaceOfDirector(t, name), append([]string{"--interface", "eth0"}, args...)...)
}

// runDirector runs one in a namespace until the test ends.
func runDirector(t *testing.T, n *host.Namespace, args ...string) *liveDirector {
	t.Helper()
	d := &liveDirector{n, t}
	director := d.Command(program(t, "lvsx"), append([]string{"director"}, args...)...)
	var log bytes.Buffer
	director.Stdout, director.Stderr = &log, &log
	if err := director.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(director.Process.Signal(syscall.SIGTERM), director.Wait()); err != nil {
			t.Errorf("director: %v\n%s", err, &log)
		}
	})
	if !isReady(func() error { return d.Command(program(t, "ipvsadm"), "-L").Run() }) {
		t.Fatalf("the director is not ready after %v", patience)
	}
	return d
}

// namespaceOfDirector is a network namespace with one interface, eth0.
func namespaceOfDirector(t *testing.T, name string) *host.Namespace {
	t.Helper()
	n := testenv.Namespace(t, name)
	err := n.Do(func() error {
		if err := host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "peer"}); err != nil {
			return err
		}
		_, err := host.AddAddress("eth0", netip.MustParsePrefix("10.0.0.1/24"))
		return errors.Join(err, host.SetUp("eth0"), host.SetUp("peer"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// isReady tells whether what asks the director succeeds within a minute.
func isReady(ask func() error) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if ask() == nil {
			return true
		}
	}
	return false
}

// program returns the path of what TestMain has put into PATH.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (d *liveDirector) ipvsadm(stdin string, args ...string) time.Duration {
	d.t.Helper()
	cmd := d.Command(program(d.t, "ipvsadm"), args...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("ipvsadm %s: %v", strings.Join(args, " "), err)
	}
	return time.Since(start)
}

// edit returns what an edit takes, the median of some.
func (d *liveDirector) edit() time.Duration {
	d.t.Helper()
	var took []time.Duration
	for i := range 31 {
		took = append(took, d.ipvsadm("", "-e", "-t", "192.0.2.1:80", "-r", "10.0.0.2:80", "-m", "-w", fmt.Sprint(i)))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// change returns what a change of a weight takes from the question to the answer,
// by when the datapath has it.
func (d *liveDirector) change() time.Duration {
	d.t.Helper()
	var state string
	if err := d.Do(func() (err error) { state, err = host.StatePath(); return err }); err != nil {
		d.t.Fatal(err)
	}
	client, err := control.Dial(control.SocketPath(state))
	if err != nil {
		d.t.Fatal(err)
	}
	var took []time.Duration
	for i := range 101 {
		change := ipvs.Change{
			Op:          ipvs.EditDestination,
			Service:     ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")}},
			Destination: ipvs.Destination{RIP: netip.MustParseAddrPort("10.0.0.2:80"), Weight: int32(i)},
		}
		start := time.Now()
		if _, err := client.Apply(change); err != nil {
			d.t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
