// SPDX-License-Identifier: Apache-2.0

package director

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// ownInterface is the director's own, by which packets of processes on the
// machine reach the datapath. It has no address and leads nowhere: the other end
// of its pair is there because a veth has one, and is down.
const (
	ownInterface = "lvsx-local"
	ownPeer      = "lvsx-local-peer"
)

// loopbackIndex is lo's in every network namespace.
const loopbackIndex = 1

// loopbackFile says what lo was set to before.
const loopbackFile = "loopback.json"

// loopbackSettings let lo take replies from the datapath: from a VIP that is the
// machine's own, and requests to 127.0.0.1. Only processes of the machine send by lo.
var loopbackSettings = []host.Sysctl{
	host.InterfaceSysctl("lo", "accept_local"),
	host.InterfaceSysctl("lo", "route_localnet"),
}

// unreached names real servers that are the director itself and that NAT cannot
// reach where the kernel has no tcx.
func unreached(table ipvs.Table, isLocal func(netip.Addr) bool) []string {
	var problems []string
	for _, s := range table.Services {
		for _, dest := range s.Destinations {
			if dest.Forwarding == ipvs.Masq && isLocal(dest.RIP.Addr()) {
				problems = append(problems, fmt.Sprintf("real server %s is this host, which NAT reaches from Linux 6.6 on: until then let it listen on the VIP and its port, with -g", dest.RIP))
			}
		}
	}
	return problems
}

// updateLocal has the machine's own packets seen, those to itself by lo and the
// others where they leave.
func (p *ports) updateLocal(known map[int]bool) {
	if !p.plane.BalancesLocal() || known[p.plane.Own()] {
		return
	}
	if p.local = p.addLocal(); p.local != nil {
		p.log.Warn("clients and real servers on the director itself are not balanced", "error", p.local)
	}
}

func (p *ports) addLocal() error {
	if gone := p.plane.Own(); gone != 0 {
		if err := p.detach(gone); err != nil {
			return err
		}
	}
	own, err := makeOwn()
	if err != nil {
		return err
	}
	if err := p.openLoopback(); err != nil {
		return err
	}
	// A director of another version may have left it.
	if !slices.ContainsFunc(p.links, func(l host.Link) bool { return l.Index == own.Index }) {
		p.links = append(p.links, own)
	}
	return host.InHostMounts(func() error {
		if err := p.plane.AttachOwn(own.Index); err != nil {
			return err
		}
		return p.plane.AttachEgress(loopbackIndex)
	})
}

func makeOwn() (host.Link, error) {
	err := host.AddVeth(host.VethEnd{Name: ownInterface, MTU: math.MaxUint16}, host.VethEnd{Name: ownPeer})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return host.Link{}, err
	}
	// Without IPv6 the kernel makes no address up for it.
	if err := host.Sysctl("net/ipv6/conf/" + ownInterface + "/disable_ipv6").Write(1); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return host.Link{}, err
	}
	if err := host.SetUp(ownInterface); err != nil {
		return host.Link{}, err
	}
	return host.LinkByName(ownInterface)
}

// watchEgress has the machine's own packets seen that leave by an interface that
// is balanced.
func (p *ports) watchEgress() {
	if p.plane.Own() == 0 {
		return
	}
	attached := p.plane.Attached()
	for _, l := range p.links {
		if _, has := attached[l.Index]; !has && !p.isCovered(l) {
			continue
		}
		err := host.InHostMounts(func() error { return p.plane.AttachEgress(l.Index) })
		if err != nil {
			p.log.Error("watch the director's own packets", "error", err)
		}
	}
}

func (p *ports) loopbackPath() string {
	return filepath.Join(p.stateDir, loopbackFile)
}

// openLoopback sets lo, and remembers how it was, unless an earlier director has
// done so.
func (p *ports) openLoopback() error {
	if _, err := os.Stat(p.loopbackPath()); err == nil {
		return nil
	}
	before := make(map[host.Sysctl]int)
	for _, s := range loopbackSettings {
		value, err := s.Read()
		if err != nil {
			return err
		}
		before[s] = value
	}
	text, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := writeWhole(p.loopbackPath(), text); err != nil {
		return err
	}
	for _, s := range loopbackSettings {
		if err := s.Write(1); err != nil {
			return err
		}
	}
	return nil
}

// removeLocal undoes what the machine's own packets needed.
func (p *ports) removeLocal() error {
	if !p.plane.BalancesLocal() {
		return nil
	}
	errs := []error{p.plane.DetachEgress()}
	if own := p.plane.Own(); own != 0 {
		errs = append(errs, p.plane.Detach(own), host.DeleteLink(ownInterface))
	}
	return errors.Join(append(errs, p.closeLoopback())...)
}

func (p *ports) closeLoopback() error {
	text, err := os.ReadFile(p.loopbackPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	before := make(map[host.Sysctl]int)
	if err := json.Unmarshal(text, &before); err != nil {
		return fmt.Errorf("read %s: %w", p.loopbackPath(), err)
	}
	var errs []error
	for s, value := range before {
		errs = append(errs, s.Write(value))
	}
	return errors.Join(errs...)
}

// writeWhole renames a file into place: half a file would keep the next director
// from starting.
func writeWhole(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
