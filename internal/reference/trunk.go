// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/binary"
	"slices"
)

const (
	typeVLAN    = 0x8100 // IEEE 802.1Q
	typeService = 0x88a8 // IEEE 802.1ad
	ethernetMAC = 12     // bytes of both addresses
	tagSize     = 4
	mostTags    = 2
	vlanID      = 0xfff
)

// Trunk is a director that has VLANs on its interface. The director knows nothing
// of them: to it a neighbour on a VLAN has another MAC address.
type Trunk struct {
	*Director
	known map[string]bool // tags of VLANs
	alias map[neighbour]MAC
	named map[MAC]neighbour
}

// neighbour is one on a VLAN.
type neighbour struct {
	tags string // as on the wire, without priorities; empty: on none
	mac  MAC
}

// NewTrunk gives a director VLANs, by their tags as they are on the wire.
func NewTrunk(d *Director, vlans ...string) *Trunk {
	t := &Trunk{Director: d, known: make(map[string]bool), alias: make(map[neighbour]MAC), named: make(map[MAC]neighbour)}
	for _, tags := range vlans {
		t.known[tags] = true
	}
	return t
}

// On returns what the director is to call a neighbour on a VLAN.
func (t *Trunk) On(tags string, mac MAC) MAC {
	n := neighbour{tags, mac}
	if tags == "" {
		return mac
	}
	if alias, ok := t.alias[n]; ok {
		return alias
	}
	alias := MAC{0x0e, 0x56, 0x4c}
	binary.BigEndian.PutUint16(alias[4:], uint16(len(t.alias)))
	t.alias[n], t.named[alias] = alias, n
	return alias
}

// Receive does with one Ethernet frame what a director does, and says which tags
// the frame that leaves has in front.
func (t *Trunk) Receive(frame []byte) (o Outcome, tags string) {
	came, vlan := readTags(frame)
	t.tagBytes = len(came)
	if came == "" {
		return t.tag(t.Director.Receive(frame), came)
	}
	rest := frame[ethernetMAC+len(came):]
	if len(rest) < 2 || vlan != "" && !t.known[vlan] {
		return Outcome{Verdict: OtherProtocol}, ""
	}
	alias := t.On(vlan, MAC(frame[6:ethernetMAC]))
	bare := slices.Concat(frame[:6], alias[:], rest)
	return t.tag(t.Director.Receive(bare), came)
}

// KnowsFirst is the director's of a frame with tags.
func (t *Trunk) KnowsFirst(frame []byte) bool {
	came, _ := readTags(frame)
	return t.Director.KnowsFirst(slices.Concat(frame[:ethernetMAC], frame[ethernetMAC+len(came):]))
}

// tag gives the frame that leaves its neighbour's address back. One that goes up to
// the stack keeps the tags that it came with.
func (t *Trunk) tag(o Outcome, came string) (Outcome, string) {
	if o.Frame == nil {
		return o, ""
	}
	if n, ok := t.named[MAC(o.Frame[6:12])]; ok {
		copy(o.Frame[6:], n.mac[:])
	}
	n, ok := t.named[MAC(o.Frame[:6])]
	switch {
	case o.Verdict.passes():
		return o, came
	case !ok:
		return o, ""
	}
	copy(o.Frame, n.mac[:])
	return o, n.tags
}

// readTags returns the tags that a frame came with, two at most, and of which VLAN
// they are: what tells a priority alone is no part of that.
func readTags(frame []byte) (came, vlan string) {
	for len(came) < mostTags*tagSize {
		rest := frame[min(len(frame), ethernetMAC+len(came)):]
		if len(rest) < tagSize {
			break
		}
		if kind := binary.BigEndian.Uint16(rest); kind != typeVLAN && kind != typeService {
			break
		}
		came += string(rest[:tagSize])
		if id := binary.BigEndian.Uint16(rest[2:]) & vlanID; id != 0 {
			vlan += string(rest[:2]) + string([]byte{byte(id >> 8), byte(id)})
		}
	}
	return came, vlan
}
