// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
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
	// directorAddress is the director's on the side of the real servers.
	directorAddress  = netip.MustParseAddr("192.168.1.1")
	directorAddress6 = netip.MustParseAddr("2001:db8:1::1")
	clientMAC        = net.HardwareAddr{2, 0, 0, 0, 0x0c, 2} // the clients' gateway, as in the recordings
)

// serverMAC is real server N's, as in the recordings.
func serverMAC(n byte) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, 1, n/10*16 + n%10}
}

// shared is loaded once, since the verifier takes its time, and emptied for
// each test.
var shared *Dataplane

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// bench drives the very program that is attached, with packets made by hand and
// a clock that is set.
type bench struct {
	t *testing.T
	*Dataplane
	now    uint32 // in ticks
	memory int64  // free pages
}

// plentiful are more free pages than any threshold.
const plentiful = math.MaxInt64

// outcome is what became of a packet.
type outcome struct {
	verdict string
	state   string
	action  uint32
	mac     net.HardwareAddr // where it was sent, nil if it was not
	ip      []byte           // the IP packet as it left
	more    [][]byte         // further packets, of one that was cut
}

const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// newBench gives an empty datapath in a network namespace without routes or
// neighbours, and puts in the changes written as ipvsadm's restore lines.
func newBench(t *testing.T, lines ...string) *bench {
	t.Helper()
	enterNamespace(t)
	if shared == nil {
		shared = openTest(t, 4096)
	}
	shared.reset(t)
	return prepare(t, shared, lines)
}

// newBenchOf is newBench with a table that has room for so many connections.
func newBenchOf(t *testing.T, connections int, lines ...string) *bench {
	t.Helper()
	enterNamespace(t)
	d := openTest(t, connections)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return prepare(t, d, lines)
}

// enterNamespace gives the test a network namespace of its own for good: the
// thread ends with the test, and the namespace with it.
func enterNamespace(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func openTest(t *testing.T, connections int) *Dataplane {
	t.Helper()
	dice := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	d, err := Open(Config{Connections: connections, Fronts: true, clockStands: true, hashSeed: [2]uint64{dice.Uint64(), dice.Uint64()}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return d
}

// reset makes the maps as new, but for counters that only grow, and learns from
// them that nothing is configured. Destinations without a service are free.
func (d *Dataplane) reset(t *testing.T) {
	t.Helper()
	for key := range d.byKey {
		if err := d.maps.ServiceIndex.Delete(toServiceKey(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetInterfaces(nil); err != nil {
		t.Fatal(err)
	}
	for key := range d.marks.lists {
		if err := d.maps.MarkLists.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	clear(d.markRules.at)
	clear(d.markSteps.at)
	var key directorFragmentKey
	for d.maps.Fragments.NextKey(nil, &key) == nil {
		if err := d.maps.Fragments.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	clear(d.services.at)
	clear(d.lists.at)
	clear(d.slots.at)
	clear(d.tables.at)
	clear(d.loads.at)
	clear(d.carries.at)
	clear(d.timeouts.at)
	d.clearConns()
	clear(d.filterMem.at)
	d.writeTimeouts()
	d.forgetSettings(t)
	d.relearn(t)
	if err := d.SweepCaches(); err != nil { // of no service now
		t.Fatal(err)
	}
}

func (d *Dataplane) forgetSettings(t *testing.T) {
	t.Helper()
	for name := range d.sysctls {
		if err := d.maps.Sysctls.Delete(toSysctlKey(name)); err != nil {
			t.Fatal(err)
		}
	}
	d.settings.Switches = directorSwitches{}
	if err := d.adoptSettings(); err != nil {
		t.Fatal(err)
	}
}

// relearn forgets all that Go knows, and adopts what the maps hold.
func (d *Dataplane) relearn(t *testing.T) {
	t.Helper()
	d.table = ipvs.Table{}
	d.byKey, d.trash = make(map[ipvs.Key]*service), make(map[trashKey]*destination)
	d.byRIP, d.hops = make(map[netip.Addr][]*destination), make(map[netip.Addr]NextHop)
	d.freeServices, d.freeDests, d.regions, d.tableRegions, d.aged = nil, nil, regions{}, regions{}, 0
	d.orphans, d.killed, d.local.servers = false, nil, 0
	d.countLocal(0)
	d.marks, d.wildcards = marks{}, wildcards{}
	d.vips = newFilter(d.filterMem.at, directorFilterUseFILTER_VIP)
	d.rips = newFilter(d.filterMem.at, directorFilterUseFILTER_RIP)
	if err := d.adopt(); err != nil {
		t.Fatal(err)
	}
}

func prepare(t *testing.T, d *Dataplane, lines []string) *bench {
	t.Helper()
	b := &bench{t: t, Dataplane: d}
	d.clock.fixed = &b.now
	b.memory = plentiful
	d.defence.freePages = func() int64 { return b.memory }
	err := d.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: 9000, Mode: Generic}})
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
	b.now = now
	b.throw(0x1234)
}

// throw says what the dice show next.
func (b *bench) throw(dice uint32) {
	b.t.Helper()
	if err := b.test.Set(directorTestCase{Now: b.now, Dice: dice}); err != nil {
		b.t.Fatal(err)
	}
}

// pass lets time go by.
func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	b.at(b.now + b.clock.ticks(d))
}

// ipvsadm runs one command line and returns what it printed.
func (b *bench) ipvsadm(args string) string {
	b.t.Helper()
	var out bytes.Buffer
	p := &ipvsadm.Program{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Hosts: "../ipvsadm/testdata/golden/etc/etc-hosts", Services: "../ipvsadm/testdata/golden/etc/etc-services",
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
	b.resolve()
}

// set gives a setting a value that it may have.
func (b *bench) set(name, value string) {
	b.t.Helper()
	if err := b.Set(name, value); err != nil {
		b.t.Fatal(err)
	}
}

// resolve tells the ways to real servers, as the recordings have them.
func (b *bench) resolve() {
	for _, rip := range b.RealServers() {
		b.SetNextHop(rip, hopTo(rip))
	}
}

// numberOf is N of the real servers 192.168.1.N and 2001:db8:1::N.
func numberOf(rip netip.Addr) byte {
	last := rip.As16()[15]
	if rip.Is6() {
		return last>>4*10 + last&15 // hexadecimal digits that are read as decimal
	}
	return last
}

func hopTo(rip netip.Addr) NextHop {
	if rip.IsLoopback() || rip == directorAddress || rip == directorAddress6 {
		return NextHop{Local: true, MTU: 1500}
	}
	source := directorAddress
	if rip.Is6() {
		source = directorAddress6
	}
	return NextHop{
		Interface: loopback,
		Source:    directorMAC,
		Neighbour: serverMAC(numberOf(rip)),
		MTU:       1500,
		Address:   source,
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

func (b *bench) Timeouts() (ipvs.Timeouts, error) {
	return b.Dataplane.Timeouts(), nil
}

func (b *bench) Services() ([]ipvs.ServiceStatus, error) {
	return b.Dataplane.Services(), nil
}

// send puts an IP packet from one side on the director's interface.
func (b *bench) send(from net.HardwareAddr, ip []byte) outcome {
	b.t.Helper()
	return b.sendFrame(frame(from, ip))
}

// frame puts an IP packet into Ethernet.
func frame(from net.HardwareAddr, ip []byte) []byte {
	kind := []byte{0x08, 0x00}
	if len(ip) > 0 && ip[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	return slices.Concat(directorMAC, from, kind, ip)
}

func (b *bench) sendFrame(frame []byte) outcome {
	b.t.Helper()
	o, err := b.try(frame)
	if err != nil {
		b.t.Fatalf("run %x: %v", frame, err)
	}
	return o
}

func (b *bench) try(frame []byte) (outcome, error) {
	run := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	action, err := b.program.Run(run)
	if err != nil {
		return outcome{}, err
	}
	var told directorTestCase
	if err := b.test.Get(&told); err != nil {
		return outcome{}, err
	}
	o := outcome{action: action, verdict: verdictNames[told.Verdict], state: stateNames[told.State]}
	left := run.DataOut
	if action == xdpPass && fateOf(directorVerdict(told.Verdict)) != Passed {
		sent := b.sendOn(left)
		o.action, left = xdpRedirect, sent[0]
		action = o.action
		for _, further := range sent[1:] {
			o.more = append(o.more, further[14:])
		}
	}
	if len(left) >= 14 {
		o.ip = left[14:]
	}
	if action == xdpTX || action == xdpRedirect {
		o.mac = net.HardwareAddr(left[:6])
	}
	return o, nil
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
