// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
)

// Mode is how to attach to interfaces.
type Mode string

// The modes of attaching. Auto takes the driver where it can be relied on.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"
	Generic Mode = "generic"
)

// ParseMode reads a Mode.
func ParseMode(text string) (Mode, error) {
	for _, mode := range []Mode{Auto, Native, Generic} {
		if text == string(mode) {
			return mode, nil
		}
	}
	return "", fmt.Errorf("XDP mode %q: not one of auto, native, generic", text)
}

// ports are the interfaces that the datapath receives and sends on.
type ports struct {
	plane    *dataplane.Dataplane
	wanted   []string // empty: all Ethernet interfaces
	mode     Mode
	log      *slog.Logger
	links    []host.Link      // as seen last
	failed   map[string]error // why an interface is not attached
	stateDir string
	adopted  map[int]bool // interfaces that an earlier director attached to
	merging  offload      // of received packets
	tags     offload      // of VLANs
	local    error        // why the machine's own packets are not balanced
}

func (p *ports) init(stateDir string, plane *dataplane.Dataplane, options Options) error {
	p.plane, p.wanted, p.mode, p.log = plane, options.Interfaces, options.Mode, options.Log
	p.stateDir, p.failed = stateDir, make(map[string]error)
	p.adopted = make(map[int]bool)
	for ifindex := range plane.Attached() {
		p.adopted[ifindex] = true
	}
	p.merging = offload{is: host.ReceiveOffload, set: host.SetReceiveOffload}
	p.tags = offload{is: host.VLANOffload, set: host.SetVLANOffload}
	return errors.Join(p.merging.load(stateDir, receiveOffloadFile), p.tags.load(stateDir, vlanOffloadFile))
}

// isWanted tells whether to attach to a link. Left to itself the director takes
// every Ethernet interface that addresses can be on: of a bridge or bond that
// is the bridge or bond, not its ports. A port stands for the VLANs on it, too.
func (p *ports) isWanted(l host.Link) bool {
	if len(p.wanted) > 0 {
		return slices.Contains(p.wanted, l.Name) || slices.Contains(p.wanted, p.nameOf(p.vlanOf(l).Port))
	}
	return l.Ethernet && !l.Loopback && l.Master == 0 && l.Name != ownInterface && l.Name != ownPeer
}

// update attaches to what came, lets go of what went, and tells the datapath.
func (p *ports) update(links []host.Link) {
	known := make(map[int]bool)
	for _, l := range links {
		known[l.Index] = true
	}
	for _, l := range p.links {
		if !known[l.Index] {
			p.report(l.Name, p.detach(l.Index))
		}
	}
	p.links = links
	attached := p.plane.Attached()
	for ifindex := range attached {
		if !known[ifindex] {
			p.report(fmt.Sprint(ifindex), p.detach(ifindex))
		}
	}
	p.updateLocal(known)
	p.tell() // before a new program sees its first packet
	for _, l := range portsFirst(links) {
		_, has := attached[l.Index]
		switch covered := p.isCovered(l); {
		case covered && has:
			p.report(l.Name, p.detach(l.Index))
		case p.isWanted(l) && !covered && !has:
			p.report(l.Name, p.attach(l))
		}
	}
	p.keepTags()
	p.watchEgress()
	p.tell()
}

// report remembers what went wrong with an interface, and logs it once.
func (p *ports) report(name string, err error) {
	if err == nil {
		delete(p.failed, name)
		return
	}
	if p.failed[name] == nil {
		p.log.Warn("interface is not balanced", "interface", name, "error", err)
	}
	p.failed[name] = err
}

// attach chooses the mode. A veth takes redirected frames only from a peer that
// runs a program, too, which cannot be known: generic unless asked for.
func (p *ports) attach(l host.Link) error {
	switch master := p.linkOf(l.Master); {
	case !l.Ethernet:
		return errors.New("it is no Ethernet interface")
	case master.Kind == "bond", master.Kind == "bridge":
		return fmt.Errorf("it is a port of %s, whose packets they are: give --interface %s", master.Name, master.Name)
	case l.Lower != 0 && p.mode == Native:
		return fmt.Errorf("it is a VLAN, which has no driver: give --interface %s", p.nameOf(p.vlanOf(l).Port))
	}
	mode := dataplane.Generic
	if p.mode == Native || p.mode == Auto && p.isHardware(l) {
		mode = dataplane.Native
	}
	err := p.attachAs(l, mode)
	if err != nil && p.mode == Auto && mode == dataplane.Native {
		mode = dataplane.Generic
		err = p.attachAs(l, mode)
	}
	if err != nil {
		return err
	}
	p.log.Info("attached", "interface", l.Name, "xdp", mode)
	return nil
}

// isHardware tells whether a driver runs behind a link that may know XDP.
func (p *ports) isHardware(l host.Link) bool {
	if l.Kind != "bond" {
		return l.Kind == "device"
	}
	parts := slices.DeleteFunc(slices.Clone(p.links), func(part host.Link) bool { return part.Master != l.Index })
	return len(parts) > 0 && !slices.ContainsFunc(parts, func(part host.Link) bool { return part.Kind != "device" })
}

func (p *ports) attachAs(l host.Link, mode dataplane.Mode) error {
	err := host.InHostMounts(func() error { return p.plane.Attach(l.Index, mode) })
	if err == nil && mode == dataplane.Generic && !p.plane.HandsOver(l.Index) {
		err = p.stopMerging(l.Name)
	}
	return err
}

func (p *ports) detach(ifindex int) error {
	return host.InHostMounts(func() error { return p.plane.Detach(ifindex) })
}

// tell gives the datapath all interfaces that it may send from.
func (p *ports) tell() {
	attached := p.plane.Attached()
	var interfaces []dataplane.Interface
	for _, l := range p.withRoomForTags(p.links) {
		if l.Ethernet && !l.Loopback && len(l.MAC) == 6 {
			interfaces = append(interfaces, dataplane.Interface{
				Index: l.Index, MAC: l.MAC, MTU: l.MTU, Mode: attached[l.Index], VLAN: p.vlanOf(l), Master: l.Master,
			})
		}
	}
	if err := p.plane.SetInterfaces(interfaces); err != nil {
		p.log.Error("tell datapath of interfaces", "error", err)
	}
}

// check fails if an interface that was asked for is not attached, or if there
// is none at all.
func (p *ports) check() error {
	attached := p.plane.Attached()
	for _, name := range p.wanted {
		if !slices.ContainsFunc(p.links, func(l host.Link) bool { return l.Name == name }) {
			return fmt.Errorf("attach to %s: no such interface", name)
		}
		if err := p.failed[name]; err != nil {
			return fmt.Errorf("attach to %s: %w", name, err)
		}
	}
	if len(attached) == 0 && len(p.failed) > 0 {
		return fmt.Errorf("attach to any interface: %s", strings.Join(p.problems(), "; "))
	}
	return nil
}

// list names the attached interfaces.
func (p *ports) list() []control.Interface {
	interfaces := []control.Interface{}
	attached := p.plane.Attached()
	for _, l := range p.links {
		if mode, ok := attached[l.Index]; ok {
			interfaces = append(interfaces, control.Interface{Name: l.Name, Index: l.Index, Mode: string(mode)})
		}
	}
	return interfaces
}

func (p *ports) String() string {
	var names []string
	for _, i := range p.list() {
		names = append(names, i.Name+"="+i.Mode)
	}
	return strings.Join(names, " ")
}

func (p *ports) problems() []string {
	var problems []string
	for name, err := range p.failed {
		problems = append(problems, fmt.Sprintf("interface %s is not balanced: %v", name, err))
	}
	if p.local != nil {
		problems = append(problems, fmt.Sprintf("clients and real servers on the director itself are not balanced: %v", p.local))
	}
	slices.Sort(problems)
	return problems
}

func (p *ports) detachAll() error {
	var errs []error
	for ifindex := range p.plane.Attached() {
		errs = append(errs, p.plane.Detach(ifindex))
	}
	return errors.Join(append(errs, p.removeLocal(), p.merging.restore(), p.tags.restore())...)
}

// stopMerging turns receive offload off where generic XDP would see packets
// merged above the MTU, which it cannot redirect.
func (p *ports) stopMerging(name string) error {
	done, err := p.merging.turnOff(name)
	if done {
		p.log.Info("turning receive offload off, generic XDP cannot send merged packets on", "interface", name)
	}
	return err
}
