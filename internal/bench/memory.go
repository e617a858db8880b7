// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// memory is the maps that new connections write to, so that a table can be put
// back into the state it was in before.
type memory []region

// region is the values of one map.
type region []byte

// image is what was in a memory.
type image [][]byte

// remembered are the maps that a connection is entered in; groups are among the variables.
var remembered = []string{".bss", "conns", "dest_loads"}

// mapMemory finds the maps by way of the program that uses them.
func mapMemory(program *ebpf.Program) (memory, error) {
	info, err := program.Info()
	if err != nil {
		return nil, fmt.Errorf("look at program: %w", err)
	}
	ids, _ := info.MapIDs()
	var m memory
	for _, id := range ids {
		r, err := mapRegion(id)
		if err != nil {
			return nil, errors.Join(err, m.unmap())
		}
		if r != nil {
			m = append(m, r)
		}
	}
	if len(m) != len(remembered) {
		return nil, errors.Join(fmt.Errorf("find maps %q of program: found %d", remembered, len(m)), m.unmap())
	}
	return m, nil
}

// mapRegion maps the values of one of the remembered maps, nothing for others.
func mapRegion(id ebpf.MapID) (region, error) {
	found, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, fmt.Errorf("open map %d: %w", id, err)
	}
	defer found.Close()
	info, err := found.Info()
	if err != nil {
		return nil, fmt.Errorf("look at map %d: %w", id, err)
	}
	if !slices.Contains(remembered, info.Name) {
		return nil, nil
	}
	page := os.Getpagesize()
	size := (int(info.ValueSize)*int(info.MaxEntries) + page - 1) &^ (page - 1)
	bytes, err := unix.Mmap(found.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map memory of %s: %w", info.Name, err)
	}
	return bytes, nil
}

func (m memory) save() image {
	saved := make(image, len(m))
	for i, r := range m {
		saved[i] = slices.Clone(r)
	}
	return saved
}

func (m memory) restore(saved image) {
	for i, r := range m {
		copy(r, saved[i])
	}
}

func (m memory) unmap() error {
	var errs []error
	for _, r := range m {
		errs = append(errs, unix.Munmap(r))
	}
	return errors.Join(errs...)
}
