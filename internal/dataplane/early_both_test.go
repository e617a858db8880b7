// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/perf"

	"github.com/lvsx/lvsx/internal/reference"
)

// kept is an early fragment that waits for its first.
type kept struct {
	directorEarlyFragment
	frame []byte
	looks int
}

// Fragments wait for three looks, and so many of them.
const (
	keptLooks = 3
	keptLimit = 128
)

// keepEarly keeps what either director says is early. The one who does that for
// users, KeepEarlyFragments, goes by the time of day.
func (p *pair) keepEarly() {
	p.t.Helper()
	reader, err := perf.NewReader(p.maps.EarlyFragments, earlyBuffer)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { reader.Close() })
	p.early, p.model.Keeps = reader, true
}

// keep reads what the datapath says of the early fragment that it was just sent.
func (p *pair) keep(frame []byte, ingress uint32) (wrong string) {
	p.early.SetDeadline(time.Unix(1, 0)) // what is not there will not come
	record, err := p.early.Read()
	if err != nil {
		return "early, but nobody is told: " + err.Error()
	}
	early, ok := parseEarly(record.RawSample)
	switch {
	case !ok:
		return fmt.Sprintf("early: %x", record.RawSample)
	case !bytes.Equal(early.frame, frame):
		return fmt.Sprintf("early: %x, want %x", early.frame, frame)
	case early.Ifindex != max(ingress, loopback):
		return fmt.Sprintf("early, by interface %d", early.Ifindex)
	}
	p.kept = append(p.kept, kept{directorEarlyFragment: early.directorEarlyFragment, frame: slices.Clone(early.frame)})
	if len(p.kept) > keptLimit {
		p.kept = p.kept[1:]
	}
	return ""
}

// readmit has those come in again whose first is known.
func (p *pair) readmit(knows func(frame []byte) bool, send func(frame []byte) string) (wrong string) {
	waiting := p.kept
	p.kept = nil
	for _, k := range waiting {
		knew := knows(k.frame)
		switch got := p.knowsFirst(k.Key); {
		case got != knew:
			return fmt.Sprintf("%x: its first is known: %t, want %t", k.frame, got, knew)
		case knew:
			if wrong := send(k.frame); wrong != "" {
				return fmt.Sprintf("%x, again: %s", k.frame, wrong)
			}
		case k.looks < keptLooks:
			k.looks++
			p.kept = append(p.kept, k)
		}
	}
	return ""
}

// readmitBoth has them come in again at both. A frame may have tags, of a priority alone.
func (p *pair) readmitBoth() (wrong string) {
	return p.readmit(p.port.KnowsFirst, func(frame []byte) (wrong string) {
		_, wrong = p.both(frame)
		return wrong
	})
}

// toldAll says what is wrong if the datapath said of more fragments than it
// decided to be early.
func (p *pair) toldAll() (wrong string) {
	p.early.SetDeadline(time.Unix(1, 0))
	record, err := p.early.Read()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("early, by no verdict: %x, %v", record.RawSample, err)
	}
	return ""
}

// A fragment that waits for its first may have a priority, which that need not have.
func TestEarlyFragmentOfAPriority(t *testing.T) {
	p := newPair(t, 4096)
	p.empty()
	if wrong := p.furnish(); wrong != "" {
		t.Fatal(wrong)
	}
	pieces := inFragments(udp(client, natVIP, make([]byte, 32)...), 9, 16)
	later := slices.Insert(frame(clientMAC, pieces[1]), 12, 0x81, 0, 0x60, 0)
	for i, want := range []reference.Verdict{reference.Early, reference.MasqIn} {
		got, wrong := p.both([][]byte{later, frame(clientMAC, pieces[0])}[i])
		if got != want || wrong != "" {
			t.Fatalf("%s, want %s: %s", got, want, wrong)
		}
	}
	if wrong := p.readmitBoth(); wrong != "" {
		t.Error(wrong)
	}
	if len(p.kept) > 0 {
		t.Error("its first is there, and it still waits")
	}
}
