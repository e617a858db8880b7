// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRegionSize(t *testing.T) {
	for count, want := range map[int]uint32{0: 4, 1: 4, 4: 4, 5: 8, 8: 8, 9: 16, 1000: 1024, 1024: 1024, 1025: 2048} {
		if got := regionSize(count); got != want {
			t.Errorf("regionSize(%d) = %d, want %d", count, got, want)
		}
	}
}

// A region that is given back may still be walked by a packet.
func TestRegionsRest(t *testing.T) {
	now := time.Unix(1000, 0)
	r := regions{end: 8}
	first, ok := r.take(8, now)
	if !ok || first != 0 {
		t.Fatalf("take = %d, %t", first, ok)
	}
	r.giveBack(first, 8, now)
	if _, ok := r.take(8, now.Add(regionRest-1)); ok {
		t.Error("a region was taken that should rest")
	}
	if again, ok := r.take(8, now.Add(regionRest)); !ok || again != first {
		t.Errorf("take = %d, %t after the rest, want %d", again, ok, first)
	}
}

// Whatever is taken and given back, no slot belongs to two.
func TestRegionsNeverOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1000, 0)
	r := regions{end: 1024}
	var taken []region
	owner := make([]int, r.end)
	for step := 1; step <= 5000; step++ {
		now = now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
		if len(taken) > 0 && random.IntN(2) == 0 {
			i := random.IntN(len(taken))
			for slot := taken[i].first; slot < taken[i].first+taken[i].size; slot++ {
				owner[slot] = 0
			}
			r.giveBack(taken[i].first, taken[i].size, now)
			taken = append(taken[:i], taken[i+1:]...)
			continue
		}
		size := regionSize(1 + random.IntN(100))
		first, ok := r.take(size, now)
		if !ok {
			continue
		}
		for slot := first; slot < first+size; slot++ {
			if slot >= r.end || owner[slot] != 0 {
				t.Fatalf("step %d: slot %d of a region of %d is outside or taken", step, slot, size)
			}
			owner[slot] = step
		}
		taken = append(taken, region{first, size})
	}
	if len(taken) == 0 {
		t.Error("nothing was taken")
	}
}

// What adoption finds between used regions is of use again.
func TestRegionsAddGaps(t *testing.T) {
	r := regions{next: 23, end: 23}
	r.add(4, 23)
	total := uint32(0)
	for _, size := range []uint32{16, 2, 1} {
		if _, ok := r.take(size, time.Unix(0, 0)); !ok {
			t.Errorf("no region of %d among 19 free slots", size)
		}
		total += size
	}
	if total != 19 {
		t.Errorf("%d slots, want 19", total)
	}
}
