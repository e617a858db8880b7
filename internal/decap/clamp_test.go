// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// segment returns a TCP segment with the options and a right checksum.
func segment(from, to netip.Addr, flags uint16, options ...byte) []byte {
	size := uint16(20+len(options)) / 4
	tcp := slices.Concat(be16(80, 4242, 0, 1, 0, 2, size<<12|flags, 65535, 0, 0), options, []byte("a text"))
	check := ^sum(pseudoHeader(from, to, unix.IPPROTO_TCP, len(tcp)), tcp)
	copy(tcp[16:], be16(check))
	return ip(from, to, unix.IPPROTO_TCP, tcp)
}

func TestClamp(t *testing.T) {
	const syn, ack, synAck = 2, 16, 18
	mss := func(bytes uint16) []byte { return append([]byte{2, 4}, be16(bytes)...) }
	for _, test := range []struct {
		name          string
		flags         uint16
		options, want []byte
	}{
		{"too large", synAck, mss(1460), mss(1400)},
		{"a SYN, too", syn, mss(65535), mss(1400)},
		{"no larger than allowed", synAck, mss(1400), mss(1400)},
		{"small", synAck, mss(536), mss(536)},
		{"no SYN", ack, mss(1460), mss(1460)},
		{"no options", synAck, nil, nil},
		{"behind others", synAck, slices.Concat([]byte{4, 2, 1, 3, 3, 7}, mss(1460), []byte{0, 0}), slices.Concat([]byte{4, 2, 1, 3, 3, 7}, mss(1400), []byte{0, 0})},
		{"at an odd place", synAck, slices.Concat([]byte{1}, mss(1460), []byte{1, 1, 0}), slices.Concat([]byte{1}, mss(1400), []byte{1, 1, 0})},
		{"behind the end", synAck, slices.Concat([]byte{0, 0, 0, 0}, mss(1460)), slices.Concat([]byte{0, 0, 0, 0}, mss(1460))},
		{"behind an endless option", synAck, slices.Concat([]byte{8, 0, 1, 1}, mss(1460)), slices.Concat([]byte{8, 0, 1, 1}, mss(1460))},
		{"of a wrong size", synAck, []byte{2, 3, 5, 0xb4}, []byte{2, 3, 5, 0xb4}},
		{"cut off", synAck, []byte{1, 1, 2, 4}, []byte{1, 1, 2, 4}},
	} {
		for family, e := range map[string]ends{"IPv4": mixtures["4in4"], "IPv6": mixtures["6in6"]} {
			t.Run(test.name+" "+family, func(t *testing.T) {
				d := loadForAll(t)
				if err := d.SetLargest(e.vip, 1400); err != nil {
					t.Fatal(err)
				}
				clampAs(t, d, segment(e.vip, e.client, test.flags, test.options...), segment(e.vip, e.client, test.flags, test.want...))
				others := segment(e.from, e.client, test.flags, test.options...)
				clampAs(t, d, others, others)
			})
		}
	}
}

func clampAs(t *testing.T, d *Decapsulator, in, want []byte) {
	t.Helper()
	_, out, err := d.clamp.Test(frame(in))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, frame(want)) {
		t.Errorf("segment (-want +got):\n%s", cmp.Diff(hex.EncodeToString(frame(want)), hex.EncodeToString(out)))
	}
}

func TestLargest(t *testing.T) {
	d := loadForAll(t)
	if err := d.SetLargest(vip6, 1380); err != nil {
		t.Fatal(err)
	}
	if err := d.SetLargest(rip6, 1380); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("no VIP: %v, want %v", err, ebpf.ErrKeyNotExist)
	}
	for address, want := range map[netip.Addr]int{vip6: 1380, vip: 0, rip: 0} {
		if got, err := d.Largest(address); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", address, got, err, want)
		}
	}
}

func TestAttachClamp(t *testing.T) {
	testenv.Need(t, testenv.TCX)
	d := loadForTest(t)
	inNamespace(t, func(eth0 host.Link) error {
		for range 2 {
			if err := d.AttachClamp(eth0.Index); err != nil {
				return err
			}
		}
		for _, want := range []bool{true, false} {
			if is, err := d.IsClamped(eth0.Index); is != want || err != nil {
				t.Errorf("clamped: %t, %v, want %t", is, err, want)
			}
			if err := d.DetachClamp(eth0.Index); err != nil {
				return err
			}
		}
		return nil
	})
}
