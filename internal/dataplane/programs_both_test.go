// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"github.com/cilium/ebpf"

	"github.com/lvsx/lvsx/internal/reference"
)

// programOrder are the programs that packets are left to, as enum program has them
// (bpf/programs.h). The first is that of all that is not plain, which the model does not
// tell apart: TestNotPlainPackets is without it.
var programOrder = []reference.Program{
	reference.ProgramDirector, reference.ProgramError, reference.ProgramFragment, reference.ProgramFront,
}

// takenPrograms are held by their places.
type takenPrograms map[uint32]*ebpf.Program

// without gives both directors all programs but those: the kernel takes them from a
// process that has closed its map and pinned none.
func (p *pair) without(gone ...reference.Program) error {
	p.model.Without = make(map[reference.Program]bool)
	for _, program := range gone {
		p.model.Without[program] = true
	}
	for i, name := range programOrder {
		at := uint32(i)
		program, taken := p.taken[at]
		switch {
		case p.model.Without[name] && !taken:
			if err := p.maps.Programs.Lookup(at, &program); err != nil {
				return err
			}
			if err := p.maps.Programs.Delete(at); err != nil {
				return err
			}
			p.taken[at] = program
		case taken && !p.model.Without[name]:
			if err := p.maps.Programs.Put(at, program); err != nil {
				return err
			}
			delete(p.taken, at)
			if err := program.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
