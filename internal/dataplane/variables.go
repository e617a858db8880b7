// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// variablesMap has the datapath's variables in its one value (bpf/maps.h).
const variablesMap = ".bss"

// variables says where in that value each of them begins, in bytes.
type variables struct {
	dests    uint32
	verdicts uint32
	groups   uint32 // the last: there may be any number
}

// variablesOf finds the variables by the types that the object tells. Behind groups
// there may be none.
func variablesOf(spec *ebpf.CollectionSpec) (variables, error) {
	section, is := spec.Maps[variablesMap].Value.(*btf.Datasec)
	if !is {
		return variables{}, fmt.Errorf("find the datapath's variables: %s has no types", variablesMap)
	}
	var at variables
	for name, offset := range map[string]*uint32{"dests": &at.dests, "verdicts": &at.verdicts, "groups": &at.groups} {
		i := indexOf(section, name)
		if i < 0 {
			return at, fmt.Errorf("find the datapath's variables: %s has no %s", variablesMap, name)
		}
		*offset = section.Vars[i].Offset
	}
	for _, v := range section.Vars {
		if v.Offset > at.groups {
			return at, fmt.Errorf("find the datapath's variables: %s is where groups grow", v.Type.TypeName())
		}
	}
	return at, nil
}

func indexOf(section *btf.Datasec, name string) int {
	for i, v := range section.Vars {
		if v.Type.TypeName() == name {
			return i
		}
	}
	return -1
}

// makeRoom makes the map as large as so many groups need.
func (v variables) makeRoom(spec *ebpf.CollectionSpec, groups uint32) {
	m := spec.Maps[variablesMap]
	m.ValueSize = v.groups + groups*uint32(unsafe.Sizeof(directorGroup{}))
	m.Contents = nil          // zeros, which the kernel makes
	m.Key, m.Value = nil, nil // types of the size that it had
}

// groupsIn returns how many groups there is room for in a map that was made so.
func (v variables) groupsIn(m *ebpf.Map) uint32 {
	return (m.ValueSize() - v.groups) / uint32(unsafe.Sizeof(directorGroup{}))
}

// variable is the part of mapped memory where a variable of so many entries is.
func variable[T any](whole memory[byte], offset, entries uint32) memory[T] {
	return memory[T]{at: unsafe.Slice((*T)(unsafe.Pointer(&whole.bytes[offset])), entries)}
}
