// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// memory is a map seen as a Go slice: what is written to it, the datapath reads
// at once. T must have the layout of the map's value.
type memory[T any] struct {
	at    []T
	bytes []byte
}

// mapMemory maps the values of an array map with BPF_F_MMAPABLE. The kernel
// rounds each value up to 8 bytes, the whole up to pages.
func mapMemory[T any](m *ebpf.Map, entries uint32) (memory[T], error) {
	var value T
	if size := (m.ValueSize() + 7) &^ 7; uintptr(size) != unsafe.Sizeof(value) {
		return memory[T]{}, fmt.Errorf("map memory of %s: values of %d bytes, want %d", m, size, unsafe.Sizeof(value))
	}
	whole, err := mapBytes(m, uintptr(entries)*unsafe.Sizeof(value))
	if err != nil {
		return memory[T]{}, err
	}
	return memory[T]{at: unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(whole.bytes))), entries), bytes: whole.bytes}, nil
}

// mapBytes maps so many bytes of an array map with BPF_F_MMAPABLE.
func mapBytes(m *ebpf.Map, size uintptr) (memory[byte], error) {
	page := uintptr(os.Getpagesize())
	bytes, err := unix.Mmap(m.FD(), 0, int((size+page-1)&^(page-1)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return memory[byte]{}, fmt.Errorf("map memory of %s: %w", m, err)
	}
	return memory[byte]{at: bytes, bytes: bytes}, nil
}

func (m memory[T]) unmap() error {
	if m.bytes == nil {
		return nil
	}
	return unix.Munmap(m.bytes)
}
