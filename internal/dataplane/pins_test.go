// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// pinDir is a directory on a BPF file system that nobody else sees: the thread
// and its mounts end with the test.
func pinDir(t *testing.T) string {
	t.Helper()
	enterNamespace(t)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mount("lvsx", dir, "bpf", 0, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "pins")
}

// openPinned is one life of a director, with the clock at the tick given.
func openPinned(t *testing.T, config Config, now uint32) *bench {
	t.Helper()
	config.clockStands = true
	config.Connections = 4096
	d, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	b := prepare(t, d, nil)
	b.at(now)
	return b
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// shown is all that a user sees.
func (b *bench) shown() string {
	var out strings.Builder
	for _, args := range []string{"-S -n", "-L -n --nosort", "-L -n --stats", "-L -n --thresholds", "-L --timeout", "-L -n -c"} {
		fmt.Fprintf(&out, "ipvsadm %s\n%s", args, b.ipvsadm(args))
	}
	return out.String()
}

// The next director goes on where the last one stopped, whatever that was.
func TestAdopt(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 7}
	setup := []string{
		"--set 0 45 77",
		"-A -t 10.0.0.80:80 -s rr",
		"-a -t 10.0.0.80:80 -r 192.168.1.12:80 -g -w 1 -x 500 -y 20",
		"-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g -w 1",
		"-a -t 10.0.0.80:80 -r 192.168.1.13:80 -g -w 0",
		"-a -t 10.0.0.80:80 -r 192.168.1.14:80 -g -w 1",
		"-A -u 10.0.0.81:53 -s wrr",
		"-a -u 10.0.0.81:53 -r 192.168.1.11:5353 -m -w 3",
		"-a -u 10.0.0.81:53 -r 192.168.1.12:5353 -m -w 2",
		"-A -t 10.0.0.82:80 -s rr",
		"-A -t 10.0.0.83:80 -s rr",
		"-a -t 10.0.0.83:80 -r 192.168.1.15:80 -m",
	}
	b := openPinned(t, config, 1<<20)
	b.apply(setup...)
	for n := range 7 {
		b.pick(n)
	}
	c := clientNumber(20)
	other := fuzzVIPs[""]
	b.send(clientMAC, tcp(c, other, "S"))
	b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80", "-Z -u 10.0.0.81:53", "-D -t 10.0.0.82:80", "-D -t 10.0.0.83:80")
	before := b.shown()
	trash, services, dests, room := len(b.trash), len(b.freeServices), len(b.freeDests), b.slotsLeft()
	b.close()

	b = openPinned(t, config, b.now)
	b.resolve()
	if diff := cmp.Diff(before, b.shown()); diff != "" {
		t.Errorf("what users see (-before +after):\n%s", diff)
	}
	if len(b.trash) != trash || len(b.freeServices) != services || len(b.freeDests) != dests {
		t.Errorf("%d in the trash, %d services and %d destinations free; before it were %d, %d and %d",
			len(b.trash), len(b.freeServices), len(b.freeDests), trash, services, dests)
	}
	if left := b.slotsLeft(); left != room {
		t.Errorf("%d slots left, before it were %d", left, room)
	}
	if got := fmt.Sprint(b.pick(8), b.pick(9), b.pick(10)); got != "12 14 12" {
		t.Errorf("the next picks are %s", got)
	}
	if o := b.send(serverMAC(15), tcp(netip.MustParseAddrPort("192.168.1.15:80"), c, "SA")); o.verdict != "masq-out" {
		t.Errorf("a reply of a removed real server: %s", o.verdict)
	}
	b.apply("-A -t 10.0.0.83:80 -s rr", "-a -t 10.0.0.83:80 -r 192.168.1.15:80 -m")
	if o := b.send(clientMAC, tcp(c, other, "A")); o.verdict != "masq-in" {
		t.Errorf("its connection, when it is back: %s", o.verdict)
	}
	b.apply("-C")
	b.pass(time.Hour)
	b.ageAll()
	b.reap(time.Now())
	b.reap(time.Now().Add(trashIdle + time.Second))
	if len(b.freeServices) != len(b.services.at) || len(b.freeDests) != int(b.bypass()) { // all before it
		t.Errorf("%d services and %d destinations free in the end", len(b.freeServices), len(b.freeDests))
	}
	b.close()
}

// A director that was killed between two steps of a change leaves a service that
// is listed but not found, or the other way round; the next one makes them agree.
func TestAdoptInterrupted(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 7}
	b := openPinned(t, config, 1<<20)
	b.apply("-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	if err := b.maps.ServiceIndex.Delete(toServiceKey(ipvs.Key{Protocol: ipvs.TCP, VIP: vip})); err != nil {
		t.Fatal(err)
	}
	b.close()
	b = openPinned(t, config, b.now)
	b.resolve()
	if o := b.send(clientMAC, tcp(client, vip, "S")); o.verdict != "route" {
		t.Errorf("a listed service: %s", o.verdict)
	}
	b.apply("-D -t 10.0.0.80:80")
	b.close()
}

// A directory that is on no BPF file system cannot hold pins.
func TestPinElsewhere(t *testing.T) {
	enterNamespace(t)
	dir := filepath.Join(t.TempDir(), "pins")
	d, err := Open(Config{PinDir: dir, Connections: 64})
	if err == nil {
		t.Fatal(errors.Join(errors.New("opened"), d.Close()))
	}
	if !strings.HasPrefix(err.Error(), "pin map ") {
		t.Errorf("Open = %v", err)
	}
}

// slotsLeft is how many slots no list has.
func (b *bench) slotsLeft() uint32 {
	left := b.regions.end - b.regions.next
	for class, free := range b.regions.free {
		left += uint32(len(free)) << max(class-1, 0)
	}
	for _, r := range b.regions.resting {
		left += 1 << (r.class - 1)
	}
	return left
}

// Pins of another network namespace, of another version, or cut short, are
// removed, not believed.
func TestForeignPins(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, config *Config){
		"another namespace": func(_ *testing.T, config *Config) { config.Namespace++ },
		"another layout": func(t *testing.T, config *Config) {
			editIdentity(t, config.PinDir, func(id *identity) { id.Layout[0] ^= 1 })
		},
		"no identity": func(t *testing.T, config *Config) { remove(t, config.PinDir, identityMap) },
		"a map gone":  func(t *testing.T, config *Config) { remove(t, config.PinDir, directorMapSlots) },
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{PinDir: pinDir(t), Namespace: 7}
			b := openPinned(t, config, 1<<20)
			b.apply("-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
			b.close()
			spoil(t, &config)
			b = openPinned(t, config, 1<<20)
			if got := b.ipvsadm("-S -n"); got != "" {
				t.Errorf("adopted:\n%s", got)
			}
			spec, at := loadWithVariables(t)
			fresh, err := b.readPins(spec, identity{Layout: layoutOf(spec, at), Namespace: config.Namespace})
			if err != nil || len(fresh.maps) == 0 {
				t.Errorf("the next one finds %d maps, %v", len(fresh.maps), err)
			}
			fresh.close()
			b.close()
			if err := RemovePins(config.PinDir); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(config.PinDir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("pins are left: %v", err)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func editIdentity(t *testing.T, dir string, edit func(*identity)) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, identityMap), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var id identity
	if err := m.Lookup(uint32(0), &id); err != nil {
		t.Fatal(err)
	}
	edit(&id)
	if err := m.Put(uint32(0), &id); err != nil {
		t.Fatal(err)
	}
}

// Groups grow, so that no variable may be behind them.
func TestGroupsAreLast(t *testing.T) {
	spec, err := loadDirector()
	if err != nil {
		t.Fatal(err)
	}
	section := spec.Maps[variablesMap].Value.(*btf.Datasec)
	more := btf.VarSecinfo{Type: &btf.Var{Name: "more"}, Offset: section.Size + 1<<30}
	section.Vars = append(section.Vars, more)
	if _, err := variablesOf(spec); err == nil || !strings.Contains(err.Error(), "more") {
		t.Errorf("with one more: %v", err)
	}
}

func loadWithVariables(t *testing.T) (*ebpf.CollectionSpec, variables) {
	t.Helper()
	spec, err := loadDirector()
	if err != nil {
		t.Fatal(err)
	}
	at, err := variablesOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	return spec, at
}

// The layout must tell versions apart by what is in the maps, not by how many
// connections they hold.
func TestLayout(t *testing.T) {
	spec, at := loadWithVariables(t)
	before := layoutOf(spec, at)
	spec.Maps[directorMapConns].MaxEntries *= 2
	at.makeRoom(spec, 5)
	if layoutOf(spec, at) != before {
		t.Error("the number of connections is part of it")
	}
	if at.groups++; layoutOf(spec, at) == before {
		t.Error("where a variable begins is no part of it")
	}
	at.groups--
	spec.Maps[directorMapSlots].ValueSize++
	if layoutOf(spec, at) == before {
		t.Error("the size of a value is no part of it")
	}
}

// A director comes and goes; what others pinned beside it stays.
func TestPinsOfOthersStay(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 1}
	other := filepath.Join(config.PinDir, "decap")
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(filepath.Join(other, "vips")); err != nil {
		t.Fatal(err)
	}
	openPinned(t, config, 0).close()
	for range 2 {
		if err := RemovePins(config.PinDir); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(config.PinDir, "*"))
	if diff := cmp.Diff([]string{other}, left); err != nil || diff != "" {
		t.Errorf("%v, left (-want +got):\n%s", err, diff)
	}
	if _, err := os.Stat(filepath.Join(other, "vips")); err != nil {
		t.Error(err)
	}
}

// What the attached program leaves packets to is there when no process is, and
// of an earlier process once another program is attached.
func TestProgramsOutlive(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 7, Fronts: true}
	first := openPinned(t, config, 100)
	first.close()
	pins := pinnedPrograms(t, config)
	if len(pins) != 1 {
		t.Fatalf("pinned programs of one process: %q", pins)
	}
	programs, err := ebpf.LoadPinnedMap(pins[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer programs.Close()
	for number := range programs.MaxEntries() {
		var id uint32
		if err := programs.Lookup(number, &id); err != nil {
			t.Errorf("program %d of %s: %v", number, pins[0], err)
		}
	}

	second := openPinned(t, config, 200)
	defer second.close()
	if pins := pinnedPrograms(t, config); len(pins) != 2 {
		t.Errorf("pinned programs while the first process's is attached: %q", pins)
	}
	if err := second.Replace(); err != nil {
		t.Fatal(err)
	}
	if left := pinnedPrograms(t, config); len(left) != 1 || left[0] == pins[0] {
		t.Errorf("pinned programs once the second process's is attached: %q", left)
	}
}

func pinnedPrograms(t *testing.T, config Config) []string {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(config.PinDir, programsPin+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return pins
}
