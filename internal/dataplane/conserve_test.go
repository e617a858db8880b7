// SPDX-License-Identifier: Apache-2.0

package dataplane

import "fmt"

// tally is what a pair's packets came to.
type tally struct {
	packets [directorVerdictVERDICT_COUNT]uint64 // since the last look, by verdict
	actions map[Fate]uint64                      // the same, by what was done
	counted [directorVerdictVERDICT_COUNT]uint64 // by the datapath until then
	reached [directorVerdictVERDICT_COUNT]uint64 // from the beginning
}

func (t *tally) note(v directorVerdict, action uint32) {
	if t.actions == nil {
		t.actions = make(map[Fate]uint64)
	}
	t.packets[v]++
	switch action {
	case xdpPass:
		t.actions[Passed]++
	case xdpTX, xdpRedirect:
		t.actions[Forwarded]++
	default:
		t.actions[Dropped]++
	}
}

// conserve looks whether each packet since the last time was counted by what
// became of it, and by nothing else: packets in = passed + sent + dropped.
func (p *pair) conserve() (wrong string) {
	verdicts := p.Verdicts()
	t, fates := &p.sum, make(map[Fate]uint64)
	for i, v := range verdicts {
		got, want := v.Packets-t.counted[i], t.packets[i]
		t.counted[i] = v.Packets
		t.reached[i] += want
		if got != want {
			wrong = fmt.Sprintf("%d packets are counted as %s, want %d", got, v.Name, want)
		}
		if v.Fate == Answered {
			v.Fate = Forwarded
		}
		fates[v.Fate] += got
	}
	for _, fate := range []Fate{Passed, Forwarded, Dropped} {
		if wrong == "" && fates[fate] != t.actions[fate] {
			wrong = fmt.Sprintf("%d packets are counted as %s, want %d", fates[fate], fate, t.actions[fate])
		}
	}
	t.packets, t.actions = [directorVerdictVERDICT_COUNT]uint64{}, nil
	return wrong
}
