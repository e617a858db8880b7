// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
)

// loaded is what is made of the object, programs behind tcx where the kernel has
// that (Linux 6.6).
type loaded struct {
	inXDP
	behindTCX
}

type inXDP struct {
	directorMaps
	Program   *ebpf.Program  `ebpf:"director"`
	LongWay   *ebpf.Program  `ebpf:"take_any"`
	Test      *ebpf.Variable `ebpf:"test"`
	Settings  *ebpf.Map      `ebpf:".data.settings"`
	Filter    *ebpf.Map      `ebpf:".data.filter"`
	Variables *ebpf.Map      `ebpf:".bss"`
}

type behindTCX struct {
	Sender *ebpf.Program `ebpf:"send_on"`
	Out    *ebpf.Program `ebpf:"local_out"`
	Back   *ebpf.Program `ebpf:"give_back"`
}

// loadPrograms loads nothing but what runs, with the maps that are there already:
// verifying takes its time.
func (d *Dataplane) loadPrograms(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (*loaded, error) {
	names := []string{
		directorProgDirector, directorProgTakeNew, directorProgTakeAny, directorProgFollowError, directorProgFollowFragment,
	}
	if d.config.Fronts {
		names = append(names, directorProgFollowFront)
	}
	tcx, err := hasTCX()
	if err != nil {
		return nil, err
	}
	if tcx {
		names = append(names, directorProgSendOn, directorProgLocalOut, directorProgGiveBack)
	}
	collection, err := loadAtOnce(spec, names, maps)
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	var all loaded
	if !tcx {
		return &all, collection.Assign(&all.inXDP)
	}
	return &all, collection.Assign(&all)
}

// loadAtOnce makes the maps, and the programs of those names.
func loadAtOnce(spec *ebpf.CollectionSpec, names []string, maps map[string]*ebpf.Map) (*ebpf.Collection, error) {
	calls, programs := spec.Maps[directorMapPrograms], spec.Programs
	entries := calls.Contents
	calls.Contents, spec.Programs = nil, nil
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return nil, err
	}
	if collection.Programs, err = verify(programs, names, collection.Maps); err == nil {
		err = fillCalls(collection.Maps[directorMapPrograms], entries, collection.Programs)
	}
	if err != nil {
		collection.Close()
		return nil, err
	}
	return collection, nil
}

// verify loads a program on each CPU at a time: the kernel verifies them side by
// side. The longest, which takes most of the time, comes first.
func verify(specs map[string]*ebpf.ProgramSpec, names []string, maps map[string]*ebpf.Map) (map[string]*ebpf.Program, error) {
	slices.SortFunc(names, func(a, b string) int {
		return len(specs[b].Instructions) - len(specs[a].Instructions)
	})
	programs := make([]*ebpf.Program, len(names))
	var verifying errgroup.Group
	verifying.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		verifying.Go(func() (err error) {
			if programs[i], err = loadWith(maps, specs[name]); err != nil {
				return fmt.Errorf("program %s: %w", name, err)
			}
			return nil
		})
	}
	err := verifying.Wait()
	named := make(map[string]*ebpf.Program)
	for i, name := range names {
		named[name] = programs[i]
	}
	return named, err
}

func loadWith(maps map[string]*ebpf.Map, spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	spec = spec.Copy()
	for i := range spec.Instructions {
		ins := &spec.Instructions[i]
		if !ins.IsLoadFromMap() {
			continue
		}
		if err := ins.AssociateMap(maps[ins.Reference()]); err != nil {
			return nil, err
		}
	}
	return ebpf.NewProgram(spec)
}

// fillCalls enters the programs that others leave packets to, and nothing in the place
// of one that is not loaded.
func fillCalls(calls *ebpf.Map, entries []ebpf.MapKV, programs map[string]*ebpf.Program) error {
	for _, entry := range entries {
		program := programs[entry.Value.(string)]
		if program == nil {
			continue
		}
		if err := calls.Put(entry.Key, program); err != nil {
			return fmt.Errorf("enter program %s: %w", entry.Value, err)
		}
	}
	return nil
}
