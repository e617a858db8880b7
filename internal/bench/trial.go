// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// trial is one line of the report: packets of one kind to one program.
type trial struct {
	name    string
	program *ebpf.Program
	stream  *stream
	packets int
	plane   *plane // nil: a floor
	verdict string // that all packets must reach
	before  image  // of the plane, if packets change it

	times []float64 // of rounds, in nanoseconds a packet
}

// measure sends a round's packets, a tenth of them to warm up.
func (t *trial) measure(d *driver) error {
	return t.watch(func() error {
		sent, err := t.send(d)
		if err == nil {
			t.times = append(t.times, sent.length()/float64(t.packets))
		}
		return err
	})
}

func (t *trial) send(d *driver) (span, error) {
	return d.send(t.program, t.stream, t.packets/10, t.packets)
}

// watch has packets sent to the plane as it is to be before, and counts where
// they come to.
func (t *trial) watch(send func() error) error {
	if t.plane == nil {
		return send()
	}
	if t.before != nil {
		t.plane.memory.restore(t.before)
	}
	before := t.counts()
	if err := send(); err != nil {
		return err
	}
	return t.check(before, t.counts())
}

// strays are how many packets in a hundred may reach another verdict: those of
// connections that found no room when the table was filled. How many did
// depends on the hash's random seed; 1.5 were met.
const strays = 5

func (t *trial) check(before, after map[string]uint64) error {
	var all uint64
	for name := range after {
		all += after[name] - before[name]
	}
	reached := after[t.verdict] - before[t.verdict]
	if all < uint64(t.packets) || (all-reached)*100 > all*strays {
		return fmt.Errorf("%d of %d packets came to verdict %s", reached, all, t.verdict)
	}
	return nil
}

// counts returns the plane's packets by verdict.
func (t *trial) counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, v := range t.plane.Verdicts() {
		counts[v.Name] = v.Packets
	}
	return counts
}
