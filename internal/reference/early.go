// SPDX-License-Identifier: Apache-2.0

package reference

// How many fragments may be kept in a second and at once, and how large their frames
// may be (docs/verdicts.md).
const (
	earlyRate  = 4000
	earlyBurst = 512
	earlySize  = 3072
)

// keep has a later fragment kept until its first one comes, which knows its ports,
// if somebody does that. What came out of a tunnel would have come as if from
// outside then: that is not kept.
func (d *Director) keep(p *packet) Verdict {
	if p.unwrapped || len(p.frame)+d.tagBytes > earlySize || !d.take(&d.early, earlyRate, earlyBurst) || !d.Keeps {
		return Fragment
	}
	return Early
}

// KnowsFirst tells whether a fragment that was kept may come in again: its first is
// known.
func (d *Director) KnowsFirst(frame []byte) bool {
	var p packet
	if p.parse(frame) != "" {
		return false
	}
	f := d.firsts[p.fragmentKey()]
	return f != nil && f.expires > d.now
}
