// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Config is what a dataplane is made with.
type Config struct {
	// PinDir is a directory on a BPF file system, made if need be. Maps found
	// there are adopted. Empty: nothing is pinned.
	PinDir string
	// Namespace tells network namespaces apart for as long as the machine
	// runs (SO_NETNS_COOKIE). Pins of another one are not adopted.
	Namespace uint64
	// Connections is how many the table has room for. Maps that are adopted
	// keep theirs.
	Connections int
	// Fronts loads what packets in tunnels need: see SetFronts.
	Fronts bool

	clockStands bool      // where a test sets it
	hashSeed    [2]uint64 // a test's; zero: drawn
}

// firstTimeout is that of a connection of which no packet was seen, but an ICMP
// error (ip_vs_conn_new).
const firstTimeout = 3 * time.Second

// fragmentLife is how long a first fragment is remembered, which is many times what
// the others need on their way, and short beside what an id needs to come again.
const fragmentLife = 5 * time.Second

// DefaultConnections take 72 MiB.
const DefaultConnections = 1 << 20

// MaxConnections is what programs can reach: so far into a variable the verifier
// follows them (include/linux/bpf_verifier.h: BPF_MAX_VAR_OFF).
const (
	MaxConnections = int(maxGroups) * groupConns / 21 * 20
	maxGroups      = 1 << 29 / uint32(unsafe.Sizeof(directorGroup{}))
)

// Dataplane is the loaded datapath and what is configured in it. Its methods
// may be called from any goroutine.
type Dataplane struct {
	config    Config
	adopted   bool
	replaced  bool
	maps      directorMaps
	variables *ebpf.Map // see variables.go
	program   *ebpf.Program
	longWay   *ebpf.Program  // of what is not plain; program leaves it to this one
	sender    *ebpf.Program  // runs behind generic XDP; nil before Linux 6.6
	test      *ebpf.Variable // the clock that stands, in tests
	clock     clock

	settings    *directorDirectorSettings
	services    memory[directorService]
	lists       memory[directorList]
	slots       memory[directorSlot]
	tables      memory[directorTableLine]
	dests       memory[directorDest]
	loads       memory[directorDestLoad]
	bases       memory[directorStats]
	carries     memory[directorStats]
	timeouts    memory[directorTimeoutSetting]
	markRules   memory[directorMarkRule]
	markSteps   memory[directorMarkStep]
	groups      memory[directorGroup]
	verdicts    memory[directorVerdictCounts] // by CPU
	conns       memory[directorConn]
	settingMem  memory[directorDirectorSettings]
	filterMem   memory[byte]
	variableMem memory[byte] // where dests, verdicts and groups are

	mu           sync.Mutex
	table        ipvs.Table
	byKey        map[ipvs.Key]*service
	trash        map[trashKey]*destination
	byRIP        map[netip.Addr][]*destination
	hops         map[netip.Addr]NextHop
	freeServices []uint32
	freeDests    []uint32
	regions      regions // of slots
	tableRegions regions // of tables
	vips, rips   filter
	wildcards    wildcards
	marks        marks
	aged         int // the group at which ageing goes on
	passed       passed
	seed         [2]uint64        // of the connection table's hash
	sysctls      map[string]int32 // those that were set
	orphans      bool             // connections of removed destinations are to end
	killed       []killed         // whose ends may not know yet
	defence      defence
	links        map[int]*attachment
	local        local
}

// Open loads the datapath, or adopts what is pinned and puts its own program in
// place of the pinned one, without losing a packet.
func Open(config Config) (*Dataplane, error) {
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	d := &Dataplane{
		config: config,
		clock:  clock,
		byKey:  make(map[ipvs.Key]*service),
		trash:  make(map[trashKey]*destination),
		byRIP:  make(map[netip.Addr][]*destination),
		hops:   make(map[netip.Addr]NextHop),
		links:  make(map[int]*attachment),
		local:  local{egress: make(map[int]link.Link)},

		defence: defence{freePages: freePages, random: rand.Uint32N},
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.adopt(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.adoptLinks(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// load makes maps and program and maps their memory.
func (d *Dataplane) load() error {
	spec, err := loadDirector()
	if err != nil {
		return fmt.Errorf("read datapath: %w", err)
	}
	at, err := variablesOf(spec)
	if err != nil {
		return err
	}
	pinned, err := d.openPins(spec, at)
	if err != nil {
		return err
	}
	if err := d.setConstants(spec, at, pinned); err != nil {
		return err
	}
	loaded, err := d.loadPrograms(spec, pinned.maps)
	pinned.close()
	if err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			return fmt.Errorf("load datapath: the kernel's verifier refuses it (Linux 6.1 or newer is needed): %w", err)
		}
		return fmt.Errorf("load datapath: %w", err)
	}
	d.adopted, d.seed = len(pinned.maps) > 0, pinned.identity.Seed
	d.maps, d.variables, d.test = loaded.directorMaps, loaded.Variables, loaded.Test
	d.program, d.longWay = loaded.Program, loaded.LongWay
	d.sender, d.local.out, d.local.back = loaded.Sender, loaded.Out, loaded.Back
	defer loaded.Settings.Close()
	defer loaded.Filter.Close()
	if err := d.mapAll(loaded, at); err != nil {
		return err
	}
	d.settings = &d.settingMem.at[0]
	d.settings.Epoch = 1
	d.vips = newFilter(d.filterMem.at, directorFilterUseFILTER_VIP)
	d.rips = newFilter(d.filterMem.at, directorFilterUseFILTER_RIP)
	d.writeTimeouts()
	d.settings.FirstTimeout = d.clock.ticks(firstTimeout)
	d.settings.Second = d.clock.ticks(time.Second)
	d.settings.FragmentLife = d.clock.ticks(fragmentLife)
	if err := d.adoptSettings(); err != nil {
		return err
	}
	d.settings.Postponement = d.clock.ticks(postponement)
	d.settings.UnprivilegedPort = unprivilegedPort
	return d.pin(spec, pinned)
}

func (d *Dataplane) mapAll(loaded *loaded, at variables) (err error) {
	d.services, err = mapMemory[directorService](d.maps.Services, d.maps.Services.MaxEntries())
	if err != nil {
		return err
	}
	if d.lists, err = mapMemory[directorList](d.maps.Lists, d.maps.Lists.MaxEntries()); err != nil {
		return err
	}
	if d.slots, err = mapMemory[directorSlot](d.maps.Slots, d.maps.Slots.MaxEntries()); err != nil {
		return err
	}
	if d.tables, err = mapMemory[directorTableLine](d.maps.Tables, d.maps.Tables.MaxEntries()); err != nil {
		return err
	}
	if d.variableMem, err = mapBytes(d.variables, uintptr(d.variables.ValueSize())); err != nil {
		return err
	}
	d.dests = variable[directorDest](d.variableMem, at.dests, d.maps.DestLoads.MaxEntries())
	d.verdicts = variable[directorVerdictCounts](d.variableMem, at.verdicts, verdictCPUs)
	d.groups = variable[directorGroup](d.variableMem, at.groups, at.groupsIn(d.variables))
	if d.loads, err = mapMemory[directorDestLoad](d.maps.DestLoads, d.maps.DestLoads.MaxEntries()); err != nil {
		return err
	}
	if d.bases, err = mapMemory[directorStats](d.maps.DestBases, d.maps.DestBases.MaxEntries()); err != nil {
		return err
	}
	if d.carries, err = mapMemory[directorStats](d.maps.ServiceCarries, d.maps.ServiceCarries.MaxEntries()); err != nil {
		return err
	}
	if d.timeouts, err = mapMemory[directorTimeoutSetting](d.maps.Timeouts, d.maps.Timeouts.MaxEntries()); err != nil {
		return err
	}
	if d.markRules, err = mapMemory[directorMarkRule](d.maps.MarkRules, d.maps.MarkRules.MaxEntries()); err != nil {
		return err
	}
	if d.markSteps, err = mapMemory[directorMarkStep](d.maps.MarkSteps, d.maps.MarkSteps.MaxEntries()); err != nil {
		return err
	}
	if d.conns, err = mapMemory[directorConn](d.maps.Conns, d.maps.Conns.MaxEntries()); err != nil {
		return err
	}
	if d.filterMem, err = mapBytes(loaded.Filter, 1<<filterBits); err != nil {
		return err
	}
	d.settingMem, err = mapMemory[directorDirectorSettings](loaded.Settings, 1)
	return err
}

// Close lets go of maps and links. What is pinned goes on forwarding.
func (d *Dataplane) Close() error {
	var errs []error
	for _, a := range d.links {
		errs = append(errs, a.link.Close())
	}
	errs = append(errs, d.services.unmap(), d.lists.unmap(), d.slots.unmap(), d.tables.unmap(), d.loads.unmap(),
		d.bases.unmap(), d.carries.unmap(), d.timeouts.unmap(), d.markRules.unmap(), d.markSteps.unmap(), d.conns.unmap(), d.settingMem.unmap(), d.filterMem.unmap(), d.variableMem.unmap(),
		d.maps.Close(), d.variables.Close(), d.program.Close(), d.longWay.Close(), d.sender.Close(), d.closeLocal())
	return errors.Join(errs...)
}

// Adopted tells whether Open found a datapath that an earlier process left.
func (d *Dataplane) Adopted() bool {
	return d.adopted
}

// Replaced tells whether Open found a datapath on interfaces that it could not adopt, and
// removed it: what was configured there is lost.
func (d *Dataplane) Replaced() bool {
	return d.replaced
}

// Program is the datapath's XDP program, for measuring it.
func (d *Dataplane) Program() *ebpf.Program {
	return d.program
}

// LongWay is the program that new connections come to by way of Program: it has
// all maps that they are entered in.
func (d *Dataplane) LongWay() *ebpf.Program {
	return d.longWay
}
