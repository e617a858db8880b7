// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"
)

// A fragment that came before its first is kept for two seconds at most, and
// looked after in longer and longer intervals: most are overtaken by very little.
const (
	firstLook  = time.Millisecond
	lastLook   = 512 * time.Millisecond
	earlyLimit = 1024 // fragments kept at a time
)

// earlyBuffer is the memory in which each CPU leaves fragments, in bytes.
const earlyBuffer = 64 << 10

// earlyFragment is a frame that waits for the first fragment of its packet.
type earlyFragment struct {
	directorEarlyFragment
	frame []byte
	next  time.Time // when to look for the first
	pause time.Duration
}

// KeepEarlyFragments keeps fragments that came before the first of their packet,
// and has them come in again when that is known, until the context ends. Without
// it they go on to the kernel, which does not know whose they are either.
func (d *Dataplane) KeepEarlyFragments(ctx context.Context) error {
	reader, err := perf.NewReader(d.maps.EarlyFragments, earlyBuffer)
	if err != nil {
		return fmt.Errorf("read early fragments: %w", err)
	}
	defer context.AfterFunc(ctx, func() { reader.Close() })()
	defer reader.Close()

	var kept []earlyFragment
	for {
		reader.SetDeadline(nextLook(kept))
		record, err := reader.Read()
		switch {
		case errors.Is(err, perf.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return fmt.Errorf("read early fragments: %w", err)
		case len(kept) < earlyLimit:
			if early, ok := parseEarly(record.RawSample); ok {
				kept = append(kept, early)
			}
		}
		kept = d.readmit(kept)
	}
}

// nextLook is when the first is to be looked for; no time: nothing is kept.
func nextLook(kept []earlyFragment) (next time.Time) {
	for _, early := range kept {
		if next.IsZero() || early.next.Before(next) {
			next = early.next
		}
	}
	return next
}

// parseEarly takes apart what the datapath says: a struct, and the frame, with
// what the kernel fills it up to eight bytes with.
func parseEarly(sample []byte) (early earlyFragment, ok bool) {
	n, err := binary.Decode(sample, binary.NativeEndian, &early.directorEarlyFragment)
	if err != nil || uint64(len(sample)-n) < uint64(early.Size) {
		return early, false
	}
	early.frame = sample[n : n+int(early.Size)]
	return early, true
}

// readmit has those come in again whose first is known, forgets who waited too
// long, and returns the others.
func (d *Dataplane) readmit(kept []earlyFragment) []earlyFragment {
	now := time.Now()
	left := kept[:0]
	for _, early := range kept {
		switch {
		case early.next.After(now):
			left = append(left, early)
		case d.knowsFirst(early.Key):
			_ = d.receive(early.frame, early.Ifindex) // lost, if the interface is gone
		case early.pause < lastLook:
			early.pause = max(firstLook, 2*early.pause)
			early.next = now.Add(early.pause)
			left = append(left, early)
		}
	}
	clear(kept[len(left):])
	return left
}

// knowsFirst tells whether a first fragment came, and not too long ago: what comes in
// again behind an older one is early once more.
func (d *Dataplane) knowsFirst(key directorFragmentKey) bool {
	var first directorFragment
	return d.maps.Fragments.Lookup(key, &first) == nil && int32(first.Expires-d.clock.now()) > 0
}

// frameContext is struct xdp_md of include/uapi/linux/bpf.h.
type frameContext struct {
	Data, DataEnd, DataMeta                uint32
	IngressIfindex, RxQueue, EgressIfindex uint32
}

// receive has a frame come in by an interface, as if the driver had it.
func (d *Dataplane) receive(frame []byte, ifindex uint32) error {
	_, err := d.program.Run(&ebpf.RunOptions{
		Data:      frame,
		Context:   frameContext{DataEnd: uint32(len(frame)), IngressIfindex: ifindex},
		Repeat:    1,
		BatchSize: 1,
		Flags:     unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	if err != nil {
		return fmt.Errorf("let a frame come in by interface %d: %w", ifindex, err)
	}
	return nil
}
