// SPDX-License-Identifier: Apache-2.0

package realserver

import (
	"errors"
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeMachine holds values by what a step sets; what is not there is 0.
type fakeMachine struct {
	values map[Step]int
	broken Step // fails to be made
}

var errBroken = errors.New("broken")

// object returns what a step sets, without what it sets it to.
func object(s Step) Step {
	s.Value, s.Found = 0, 0
	return s
}

func valueOf(s Step) int {
	if s.Kind == SetSysctl {
		return s.Value
	}
	return 1
}

func (m fakeMachine) look(s Step) (int, bool, error) {
	value := m.values[object(s)]
	return value, value == valueOf(s), nil
}

func (m fakeMachine) do(s Step) error {
	if s.same(m.broken) {
		return errBroken
	}
	m.values[object(s)] = valueOf(s)
	return nil
}

func (m fakeMachine) undo(s Step) error {
	if m.values[object(s)] == valueOf(s) {
		m.values[object(s)] = s.Found
	}
	return nil
}

// drive makes the machine serve the wants and returns the steps to remember.
func drive(t *testing.T, m fakeMachine, done []Step, wants ...Want) ([]Step, error) {
	t.Helper()
	facts := Facts{ARPLinks: []string{"eth0"}, Arrivals: []string{"eth0"}, Astray: []string{"eth0"}, RIPs: []netip.Addr{rip}}
	var needed []Step
	for _, w := range wants {
		needed = append(needed, needs(w, facts)...)
	}
	p, err := makePlan(m, done, needed)
	if err != nil {
		t.Fatal(err)
	}
	return p.doneAfter(done), p.carryOut(m)
}

func snapshot(m fakeMachine) map[Step]int {
	values := maps.Clone(m.values)
	maps.DeleteFunc(values, func(_ Step, v int) bool { return v == 0 })
	return values
}

// ignored is what the fake machine does not start out with; found is.
var (
	ignored = Step{Kind: SetSysctl, Link: "eth0", Setting: "arp_ignore"}
	found   = map[Step]int{
		{Kind: SetSysctl, Link: "eth0", Setting: "arp_announce"}: 1,
		{Kind: SetSysctl, Link: "eth0", Setting: "rp_filter"}:    2,
		{Kind: SetUp, Link: "lo"}:                                1,
	}
)

var compareAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestDownRestoresWhatUpFound(t *testing.T) {
	m := fakeMachine{values: maps.Clone(found)}
	dr, tun := Want{Method: DR, VIP: vip}, Want{Method: TUN, VIP: netip.MustParseAddr("192.0.2.2"), Directors: []netip.Addr{director}}
	var done []Step
	var onlyDR map[Step]int
	for i, wants := range [][]Want{{dr}, {dr}, {dr, tun}, {dr, tun}, {dr}, {}, {}} {
		var err error
		if done, err = drive(t, m, done, wants...); err != nil {
			t.Fatal(err)
		}
		switch {
		case i == 0:
			onlyDR = snapshot(m)
		case len(wants) == 1:
			if diff := cmp.Diff(onlyDR, snapshot(m), compareAddresses); diff != "" {
				t.Errorf("round %d: one want (-want +got):\n%s", i, diff)
			}
		}
	}
	if diff := cmp.Diff(found, snapshot(m), compareAddresses); diff != "" {
		t.Errorf("after down (-want +got):\n%s", diff)
	}
	if len(done) > 0 {
		t.Errorf("still remembered: %v", done)
	}
}

func TestFailureRollsBack(t *testing.T) {
	want := Want{Method: TUN, VIP: vip, Directors: []netip.Addr{director}}
	facts := Facts{ARPLinks: []string{"eth0"}, Arrivals: []string{"eth0"}, Astray: []string{"eth0"}, RIPs: []netip.Addr{rip}}
	rolled := 0
	for _, step := range needs(want, facts) {
		m := fakeMachine{values: maps.Clone(found), broken: step}
		_, met, _ := m.look(step)
		if met {
			continue
		}
		rolled++
		if _, err := drive(t, m, nil, want); !errors.Is(err, errBroken) {
			t.Errorf("%s: error is %v, want %v", step, err, errBroken)
		}
		if diff := cmp.Diff(found, snapshot(m), compareAddresses); diff != "" {
			t.Errorf("%s fails: left behind (-want +got):\n%s", step, diff)
		}
	}
	if rolled != 8 {
		t.Errorf("%d steps were broken, want 8", rolled)
	}
}

func TestOthersChangesStay(t *testing.T) {
	m := fakeMachine{values: maps.Clone(found)}
	done, err := drive(t, m, nil, Want{Method: DR, VIP: vip})
	if err != nil {
		t.Fatal(err)
	}
	m.values[ignored] = 8
	if _, err := drive(t, m, done); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(found)
	want[ignored] = 8
	if diff := cmp.Diff(want, snapshot(m), compareAddresses); diff != "" {
		t.Errorf("after down (-want +got):\n%s", diff)
	}
}
