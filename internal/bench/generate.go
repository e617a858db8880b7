// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// bpfLiveFrames is BPF_F_TEST_XDP_LIVE_FRAMES of linux/bpf.h: what the program
// transmits goes out.
const bpfLiveFrames = 1 << 1

// xdpContext is struct xdp_md of linux/bpf.h.
type xdpContext struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// batchSize is how many frames the kernel lets go before it sees to those under way.
const batchSize = 64

// generate sends packets, a multiple of batchSize, out of a link, and returns
// how many nanoseconds each of them took on its whole way.
func (d *driver) generate(s *stream, ifindex, packets int) (float64, error) {
	batch := s.batch(0, packets)
	if err := d.objects.Batch.Set(&batch); err != nil {
		return 0, fmt.Errorf("write batch: %w", err)
	}
	_, err := d.objects.Generate.Run(&ebpf.RunOptions{
		Data:      make([]byte, s.frameSize()),
		Context:   xdpContext{DataEnd: uint32(s.frameSize()), IngressIfindex: uint32(ifindex)},
		Repeat:    uint32(packets + 1), // once more to stop the clock
		BatchSize: batchSize,
		Flags:     bpfLiveFrames,
	})
	if err != nil {
		return 0, fmt.Errorf("run generator: %w", err)
	}
	if err := d.objects.Batch.Get(&batch); err != nil {
		return 0, fmt.Errorf("read batch: %w", err)
	}
	if batch.Sent != batch.Total || batch.Stopped <= batch.Started {
		return 0, fmt.Errorf("generator sent %d packets of %d", batch.Sent, batch.Total)
	}
	s.last = batch.Flow
	return float64(batch.Stopped-batch.Started) / float64(packets), nil
}

// sunk counts the frames that reached the end of their way.
func (d *driver) sunk() (sunk uint64, err error) {
	if err := d.objects.Sunk.Get(&sunk); err != nil {
		return 0, fmt.Errorf("read sink: %w", err)
	}
	return sunk, nil
}
