// SPDX-License-Identifier: Apache-2.0

package sched_test

import (
	"math"
	"testing"

	"github.com/lvsx/lvsx/internal/sched"
)

func TestWeigh(t *testing.T) {
	for _, test := range []struct {
		weights []int32
		want    sched.List
	}{
		{nil, sched.List{GCD: 1, MaxWeight: 0}},
		{[]int32{0, 0}, sched.List{GCD: 1, MaxWeight: 0}},
		{[]int32{1}, sched.List{GCD: 1, MaxWeight: 1}},
		{[]int32{4, 2, 6}, sched.List{GCD: 2, MaxWeight: 5}},
		{[]int32{3, 0, 9}, sched.List{GCD: 3, MaxWeight: 7}},
		{[]int32{100, 200, 300}, sched.List{GCD: 100, MaxWeight: 201}},
		{[]int32{math.MaxInt32, 1}, sched.List{GCD: 1, MaxWeight: math.MaxInt32}},
		{[]int32{math.MaxInt32}, sched.List{GCD: math.MaxInt32, MaxWeight: 1}},
	} {
		if got := sched.Weigh(test.weights); got != test.want {
			t.Errorf("Weigh(%v) = %+v, want %+v", test.weights, got, test.want)
		}
	}
}

func TestRRCursor(t *testing.T) {
	type cursor = sched.Cursor
	for _, test := range []struct {
		name      string
		got, want sched.Cursor
	}{
		{"insert before the head of the list", sched.InsertRR(cursor{}), cursor{}},
		{"insert before the one picked", sched.InsertRR(cursor{Position: 2}), cursor{Position: 3}},
		{"remove after the one picked", sched.RemoveRR(cursor{Position: 2}, 2), cursor{Position: 2}},
		{"remove the one picked", sched.RemoveRR(cursor{Position: 2}, 1), cursor{Position: 1}},
		{"remove before the one picked", sched.RemoveRR(cursor{Position: 2}, 0), cursor{Position: 1}},
		{"remove the first, just picked", sched.RemoveRR(cursor{Position: 1}, 0), cursor{}},
		{"remove with nothing picked", sched.RemoveRR(cursor{}, 0), cursor{}},
	} {
		if test.got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, test.got, test.want)
		}
	}
}

func TestWRRCursor(t *testing.T) {
	type cursor = sched.Cursor
	for _, test := range []struct {
		name string
		from sched.Cursor
		list sched.List
		want sched.Cursor
	}{
		{"a new list", cursor{}, sched.List{GCD: 1, MaxWeight: 3}, cursor{Weight: 3}},
		{"too heavy now", cursor{3, 9}, sched.List{GCD: 1, MaxWeight: 4}, cursor{Weight: 4}},
		{"not raised for a heavier one", cursor{2, 1}, sched.List{GCD: 1, MaxWeight: 5}, cursor{Weight: 1}},
		{"fitted to a divisor", cursor{1, 7}, sched.List{GCD: 4, MaxWeight: 9}, cursor{Weight: 5}},
		{"nothing to choose", cursor{1, 7}, sched.List{GCD: 1, MaxWeight: 0}, cursor{}},
	} {
		if got := sched.ChangeWRR(test.from, test.list); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	if got := sched.StartWRR(sched.List{GCD: 2, MaxWeight: 5}); got != (cursor{Weight: 5}) {
		t.Errorf("StartWRR = %+v", got)
	}
}

func TestKnown(t *testing.T) {
	for name, want := range map[string]bool{"rr": true, "mh": true, "none": true, "": false, "RR": false, "xyz": false} {
		if got := sched.Known(name); got != want {
			t.Errorf("Known(%q) = %t", name, got)
		}
	}
}
