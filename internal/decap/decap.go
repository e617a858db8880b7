// SPDX-License-Identifier: Apache-2.0

// Package decap is the Go side of bpf/decap.bpf.c, the decapsulator of a real
// server. It knows maps, programs and pins, and nothing of the machine's
// addresses: which ones to put into the sets is the caller's business.
//
// All of a decapsulator is pinned in one directory and works on when its
// maker has ended. The directory must lie on a BPF file system.
package decap

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Set names a set of addresses, of both families, that the decapsulator looks
// into.
type Set string

// The sets, by the names of their maps.
const (
	Directors Set = "directors" // who may send tunnel packets
	RIPs      Set = "rips"      // where they may be sent to: the machine's own addresses
	VIPs      Set = "vips"      // what may be inside
)

// Count is how many packets met one verdict since the decapsulator was made.
type Count struct {
	Verdict string `json:"verdict"` // "unwrapped", "not-vip"; documented in bpf/decap.bpf.c
	Packets uint64 `json:"packets"`
}

// Decapsulator is an open decapsulator. Closing it changes nothing.
type Decapsulator struct {
	dir     string
	program *ebpf.Program // nil unless loaded
	clamp   *ebpf.Program // likewise
	sets    map[Set]*ebpf.Map
	types   *ebpf.Map
	counts  *ebpf.Map
}

// Load opens the decapsulator in the directory, and makes it if need be. It
// fails with ebpf.ErrMapIncompatible if another version of the program made
// the one that is there.
func Load(dir string) (*Decapsulator, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create pin directory: %w", err)
	}
	spec, err := loadDecap()
	if err != nil {
		return nil, fmt.Errorf("read decapsulator: %w", err)
	}
	for name, m := range spec.Maps {
		if name != decapMapScratches && name != decapMapPredecessors {
			m.Pinning = ebpf.PinByName
		}
	}
	var objects decapObjects
	err = spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, fmt.Errorf("load decapsulator: another version made the one that runs; `lvsx realserver down` first: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("load decapsulator: %w", err)
	}
	return fromMaps(dir, &objects.decapPrograms, &objects.decapMaps), errors.Join(objects.Scratches.Close(), objects.Predecessors.Close())
}

// Open opens the decapsulator in the directory to look at it and to fill its
// sets. It fails with os.ErrNotExist if there is none.
func Open(dir string) (*Decapsulator, error) {
	var maps decapMaps
	pins := map[string]**ebpf.Map{
		decapMapDirectors: &maps.Directors, decapMapRips: &maps.Rips, decapMapVips: &maps.Vips,
		decapMapTunnelTypes: &maps.TunnelTypes, decapMapVerdicts: &maps.Verdicts,
	}
	for name, m := range pins {
		pinned, err := ebpf.LoadPinnedMap(dir+"/"+name, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open decapsulator: %w", err), maps.Close())
		}
		*m = pinned
	}
	return fromMaps(dir, &decapPrograms{}, &maps), nil
}

func fromMaps(dir string, programs *decapPrograms, maps *decapMaps) *Decapsulator {
	sets := map[Set]*ebpf.Map{Directors: maps.Directors, RIPs: maps.Rips, VIPs: maps.Vips}
	return &Decapsulator{dir: dir, program: programs.Decap, clamp: programs.Clamp, sets: sets, types: maps.TunnelTypes, counts: maps.Verdicts}
}

// Remove detaches and unpins all of the decapsulator in the directory.
// Removing what is not there is no error.
func Remove(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove decapsulator: %w", err)
	}
	return nil
}

// Close releases what the process holds of the decapsulator.
func (d *Decapsulator) Close() error {
	err := errors.Join(d.counts.Close(), d.types.Close())
	for _, set := range d.sets {
		err = errors.Join(err, set.Close())
	}
	if d.program != nil {
		err = errors.Join(err, d.program.Close(), d.clamp.Close())
	}
	return err
}

// Add puts an address into a set, where it may be already.
func (d *Decapsulator) Add(set Set, address netip.Addr) error {
	if err := d.sets[set].Put(address.As16(), uint16(0)); err != nil {
		return fmt.Errorf("add %s to %s: %w", address, set, err)
	}
	return nil
}

// Delete takes an address out of a set, where it need not be.
func (d *Decapsulator) Delete(set Set, address netip.Addr) error {
	err := d.sets[set].Delete(address.As16())
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete %s from %s: %w", address, set, err)
	}
	return nil
}

// Members returns the addresses in a set, sorted.
func (d *Decapsulator) Members(set Set) ([]netip.Addr, error) {
	var key [16]byte
	var value uint16
	var members []netip.Addr
	entries := d.sets[set].Iterate()
	for entries.Next(&key, &value) {
		members = append(members, netip.AddrFrom16(key).Unmap())
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", set, err)
	}
	slices.SortFunc(members, netip.Addr.Compare)
	return members, nil
}

// Counts returns the packets by verdict, of all CPUs, in the program's order.
func (d *Decapsulator) Counts() ([]Count, error) {
	names, err := verdictNames()
	if err != nil {
		return nil, err
	}
	counts := make([]Count, len(names))
	for i, name := range names {
		var perCPU []uint64
		if err := d.counts.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read count of %s: %w", name, err)
		}
		counts[i].Verdict = name
		for _, packets := range perCPU {
			counts[i].Packets += packets
		}
	}
	return counts, nil
}

// verdictNames takes the names from the program's own type information, so
// that they are written once: VERDICT_NOT_VIP is "not-vip".
func verdictNames() ([]string, error) {
	spec, err := loadDecap()
	if err != nil {
		return nil, fmt.Errorf("read decapsulator: %w", err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("verdict", &enum); err != nil {
		return nil, fmt.Errorf("read verdicts: %w", err)
	}
	names := make([]string, decapVerdictVERDICT_COUNT)
	for _, value := range enum.Values {
		if value.Value < uint64(len(names)) {
			name := strings.TrimPrefix(value.Name, "VERDICT_")
			names[value.Value] = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		}
	}
	return names, nil
}
