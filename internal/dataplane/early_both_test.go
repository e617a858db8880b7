// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf/perf"
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
