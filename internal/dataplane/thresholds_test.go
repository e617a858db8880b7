// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"testing"
)

// An edit decides at once whether a destination is full, but not with as many
// connections as lie between the thresholds.
func TestThresholdsEdited(t *testing.T) {
	for _, test := range []struct {
		name         string
		conns        int
		before, edit string
		full         bool
	}{
		{"none", 3, "", "", false},
		{"reached by an edit", 3, "", "-x 3", true},
		{"passed by an edit", 3, "", "-x 2 -y 1", true},
		{"not reached by an edit", 3, "", "-x 4", false},
		{"reached, and nothing changes", 4, "-x 4 -y 2", "-x 4 -y 2", true},
		{"reached, and the upper one raised a little", 4, "-x 4 -y 2", "-x 5 -y 2", true},
		{"reached, and both raised", 4, "-x 4 -y 2", "-x 8 -y 5", false},
		{"reached, and the upper one raised far, three quarters of it", 4, "-x 4", "-x 6", false},
		{"reached, and taken away", 4, "-x 4 -y 2", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			const dest = " -t 10.0.0.80:80 -r 192.168.1.11:80 -g "
			b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a"+dest+test.before)
			for n := range test.conns {
				b.pick(n)
			}
			b.apply("-e" + dest + test.edit)
			if full := b.pick(test.conns) == 0; full != test.full {
				t.Errorf("full: %t, want %t", full, test.full)
			}
		})
	}
}

// With no lower threshold, a destination that was full takes more when a
// quarter of its connections is gone, whatever ended them.
func TestThresholdsEmptied(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s wlc", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g -x 8")
	var picks []int
	for n := range 8 {
		picks = append(picks, b.pick(n))
	}
	picks = append(picks, b.pick(8))
	b.endConns([]int{0, 1})
	picks = append(picks, b.pick(9))
	b.endConns([]int{2})
	for n := range 4 {
		picks = append(picks, b.pick(10+n))
	}
	if got := fmt.Sprint(picks); got != "[11 11 11 11 11 11 11 11 0 0 11 11 11 0]" {
		t.Errorf("picks %s", got)
	}
}

// A removed destination that comes back is as full as its connections make it.
func TestThresholdsRemembered(t *testing.T) {
	const dest = " -t 10.0.0.80:80 -r 192.168.1.11:80"
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a"+dest+" -g -x 2 -y 1")
	b.pick(1)
	b.pick(2)
	b.apply("-d"+dest, "-a"+dest+" -g -x 2 -y 1")
	if b.pick(3) != 0 {
		t.Error("it takes a third connection")
	}
	b.apply("-d"+dest, "-a"+dest+" -g -x 3 -y 3")
	if b.pick(4) == 0 || b.pick(5) != 0 {
		t.Error("it does not take exactly one more")
	}
}
