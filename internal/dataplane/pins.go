// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/cilium/ebpf"
)

// identity is what must agree before pinned maps are adopted, and what the
// program needs to go on with them. It is the value of the pinned map "identity".
type identity struct {
	Layout    [32]byte // of all maps and their values
	Namespace uint64
	Seed      [2]uint64 // of the connection table's hash
}

const identityMap = "identity"

// errForeign is found in pins of another layout or network namespace.
var errForeign = errors.New("pins are not of this version and network namespace")

// pins are the maps found pinned, none if there are none that fit.
type pins struct {
	maps     map[string]*ebpf.Map
	identity identity
}

func (p pins) close() {
	for _, m := range p.maps {
		m.Close()
	}
}

// openPins opens the pinned maps. Pins that do not fit are removed: they are of
// a namespace that is gone or of a version that this one cannot read.
func (d *Dataplane) openPins(spec *ebpf.CollectionSpec, at variables) (pins, error) {
	fresh := pins{identity: identity{Layout: layoutOf(spec, at), Namespace: d.config.Namespace, Seed: d.config.hashSeed}}
	if fresh.identity.Seed == [2]uint64{} {
		if err := binary.Read(rand.Reader, binary.NativeEndian, &fresh.identity.Seed); err != nil {
			return fresh, fmt.Errorf("make hash seed: %w", err)
		}
	}
	if d.config.PinDir == "" {
		return fresh, nil
	}
	found, err := d.readPins(spec, fresh.identity)
	switch {
	case err == nil:
		return found, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errForeign):
		found.close()
		return fresh, d.removePins()
	}
	found.close()
	return fresh, err
}

func (d *Dataplane) readPins(spec *ebpf.CollectionSpec, want identity) (pins, error) {
	found := pins{maps: make(map[string]*ebpf.Map)}
	m, err := ebpf.LoadPinnedMap(filepath.Join(d.config.PinDir, identityMap), nil)
	if err != nil {
		return found, fmt.Errorf("open pinned identity: %w", err)
	}
	defer m.Close()
	if m.ValueSize() != uint32(binary.Size(want)) {
		return found, errForeign
	}
	if err := m.Lookup(uint32(0), &found.identity); err != nil {
		return found, fmt.Errorf("read pinned identity: %w", err)
	}
	if found.identity.Layout != want.Layout || found.identity.Namespace != want.Namespace {
		return found, errForeign
	}
	for _, name := range pinnedMaps(spec) {
		m, err := ebpf.LoadPinnedMap(d.pinOf(name), nil)
		if err != nil {
			return found, fmt.Errorf("open pinned map %s: %w", name, err)
		}
		found.maps[name] = m
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	return found, nil
}

// pinnedMaps are all that the next process goes on with: not what programs are set by,
// and not what leads to programs or to this process.
func pinnedMaps(spec *ebpf.CollectionSpec) []string {
	names := []string{variablesMap}
	for name := range spec.Maps {
		if name[0] != '.' && name != directorMapPrograms && name != directorMapEarlyFragments {
			names = append(names, name)
		}
	}
	return names
}

// pinOf is where a map is pinned: in a BPF file system no name has a dot.
func (d *Dataplane) pinOf(name string) string {
	return filepath.Join(d.config.PinDir, strings.TrimPrefix(name, "."))
}

// setConstants sizes the maps and sets what is fixed at load.
func (d *Dataplane) setConstants(spec *ebpf.CollectionSpec, at variables, pinned pins) error {
	groups := groupsFor(d.config.Connections)
	if m := pinned.maps[variablesMap]; m != nil {
		groups = at.groupsIn(m)
	}
	at.makeRoom(spec, groups)
	shift := d.clock.shift
	if d.config.clockStands {
		shift = clockStands
	}
	spec.Maps[directorMapConns].MaxEntries = groups * uint32(groupConns)
	for name, value := range map[string]any{
		directorVarGroupCount:  groups,
		directorVarHashSeed:    pinned.identity.Seed,
		directorVarClockShift:  shift,
		directorVarCrc32cTable: crc32cTable(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// groupsFor leaves a twentieth of the places free, so that nearly every
// connection is in its first group or its second: 72 bytes a connection.
func groupsFor(connections int) uint32 {
	if connections <= 0 {
		connections = DefaultConnections
	}
	return max(2, uint32((connections+connections/20+groupConns-1)/groupConns))
}

// pin makes the maps outlive the process. The identity comes last: a directory
// without it is not adopted.
func (d *Dataplane) pin(spec *ebpf.CollectionSpec, found pins) error {
	if d.config.PinDir == "" {
		return nil
	}
	if err := os.MkdirAll(d.config.PinDir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	if err := d.pinPrograms(); err != nil || len(found.maps) > 0 {
		return err
	}
	all := d.namedMaps()
	for _, name := range pinnedMaps(spec) {
		if err := all[name].Pin(d.pinOf(name)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	return d.pinIdentity(found.identity)
}

// removePins removes pins that cannot be adopted. That the kernel detaches what only they
// kept attached takes it a moment, which loading the datapath is longer than.
func (d *Dataplane) removePins() error {
	links, err := filepath.Glob(filepath.Join(d.config.PinDir, linksDir, "*"))
	if err != nil {
		return fmt.Errorf("look for pins: %w", err)
	}
	d.replaced = len(links) > 0
	return RemovePins(d.config.PinDir)
}

// namedMaps are the maps of the datapath by their names there.
func (d *Dataplane) namedMaps() map[string]*ebpf.Map {
	all := map[string]*ebpf.Map{variablesMap: d.variables}
	maps := reflect.ValueOf(&d.maps).Elem()
	for i := range maps.NumField() {
		all[maps.Type().Field(i).Tag.Get("ebpf")] = maps.Field(i).Interface().(*ebpf.Map)
	}
	return all
}

func (d *Dataplane) pinIdentity(id identity) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "lvsx_identity", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(binary.Size(id)), MaxEntries: 1,
	})
	if err != nil {
		return fmt.Errorf("make identity: %w", err)
	}
	defer m.Close()
	if err := m.Put(uint32(0), &id); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := m.Pin(filepath.Join(d.config.PinDir, identityMap)); err != nil {
		return fmt.Errorf("pin identity: %w", err)
	}
	return nil
}

// RemovePins removes what a datapath pinned in the directory. Programs that only
// a pin kept attached are detached by it. The directory goes, too, unless others
// have theirs in it: a real server's decapsulator works on beside a director.
func RemovePins(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for pins: %w", err)
	}
	others := false
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != linksDir {
			others = true
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("remove pins: %w", err)
		}
	}
	if others {
		return nil
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove directory of pins: %w", err)
	}
	return nil
}

// layoutOf sums up what the maps look like, so that a change of any type or
// size is noticed without anybody counting versions. How many connections
// there is room for is no part of it.
func layoutOf(spec *ebpf.CollectionSpec, at variables) [32]byte {
	text := fmt.Appendf(nil, "%+v\n", at)
	maps := reflect.TypeFor[directorMaps]()
	for i := range maps.NumField() {
		name := maps.Field(i).Tag.Get("ebpf")
		m := spec.Maps[name]
		text = fmt.Appendf(text, "%s %s %d %d %d\n", name, m.Type, m.KeySize, m.ValueSize, m.Flags)
	}
	for _, value := range []any{
		directorMarkKey{}, directorMarkList{}, directorMarkStep{}, directorMarkRule{},
		directorServiceKey{}, directorService{}, directorList{}, directorSlot{}, directorTableLine{}, directorCacheKey{}, directorCacheEntry{}, directorDest{},
		directorDestLoad{}, directorStats{}, directorTimeoutSetting{}, directorSysctlKey{}, directorConn{}, directorGroup{},
	} {
		text = fmt.Appendf(text, "%s", describe(reflect.TypeOf(value)))
	}
	return sha256.Sum256(text)
}

func describe(t reflect.Type) []byte {
	text := fmt.Appendf(nil, "%s %d\n", t.Name(), t.Size())
	for i := range t.NumField() {
		f := t.Field(i)
		text = fmt.Appendf(text, "%s %s %d\n", f.Name, f.Type, f.Offset)
	}
	return text
}
