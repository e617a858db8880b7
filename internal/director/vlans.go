// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"slices"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/host"
)

const (
	// mostTags are taken off a frame by the datapath; what has more is the kernel's.
	mostTags = 2
	// tagSize is a VLAN tag's, in bytes.
	tagSize = 4
)

// linkOf returns the link that has a number, the zero value if there is none.
func (p *ports) linkOf(ifindex int) host.Link {
	for _, l := range p.links {
		if l.Index == ifindex {
			return l
		}
	}
	return host.Link{}
}

func (p *ports) nameOf(ifindex int) string { return p.linkOf(ifindex).Name }

// vlanOf follows a VLAN interface down to the port that its frames are on. It is
// the zero value of other links.
func (p *ports) vlanOf(l host.Link) dataplane.VLAN {
	var v dataplane.VLAN
	for l.Lower != 0 {
		below := p.linkOf(l.Lower)
		if below.Index == 0 || len(v.Tags) == mostTags {
			return dataplane.VLAN{}
		}
		v.Tags = slices.Insert(v.Tags, 0, dataplane.Tag{ID: l.VLAN.ID, Service: l.VLAN.Service})
		v.Port, l = below.Index, below
	}
	return v
}

// isCovered tells whether the program in the driver of a VLAN's port takes its
// frames, too.
func (p *ports) isCovered(l host.Link) bool {
	v := p.vlanOf(l)
	return v.Port != 0 && p.plane.Attached()[v.Port] == dataplane.Native
}

// portsFirst returns the links with those that VLANs are on before them.
func portsFirst(links []host.Link) []host.Link {
	sorted := slices.Clone(links)
	slices.SortStableFunc(sorted, func(a, b host.Link) int { return min(a.Lower, 1) - min(b.Lower, 1) })
	return sorted
}

// withRoomForTags returns the links with MTUs that leave room for tags. Frames
// that XDP redirects may be longer than a port's MTU by one tag, not by two
// (include/linux/filter.h: xdp_ok_fwd_dev()).
func (p *ports) withRoomForTags(links []host.Link) []host.Link {
	fitting := slices.Clone(links)
	for i, l := range links {
		if v := p.vlanOf(l); len(v.Tags) == mostTags && p.isCovered(l) {
			fitting[i].MTU = min(l.MTU, p.linkOf(v.Port).MTU-tagSize)
		}
	}
	return fitting
}

// keepTags has ports leave VLAN tags in frames, for the program to tell one VLAN's
// from another's and from the port's own.
func (p *ports) keepTags() {
	attached := p.plane.Attached()
	for _, l := range p.links {
		port := p.vlanOf(l).Port
		if _, has := attached[port]; !has {
			continue
		}
		name := p.nameOf(port)
		done, err := p.tags.turnOff(name)
		if still, _ := p.tags.is(name); done && still {
			err = errors.New("the driver does not let it be turned off")
		}
		if err != nil {
			p.log.Warn("VLAN tags are taken out of frames before XDP sees them: attach to the VLAN interfaces instead",
				"interface", name, "error", err)
		} else if done {
			p.log.Info("turning VLAN receive offload off, XDP would not see tags", "interface", name)
		}
	}
}
