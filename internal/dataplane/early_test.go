// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// Fragments arrive at the real server whatever the order they come in, as where
// the kernel reassembles.
func TestFragmentsInAnyOrder(t *testing.T) {
	testenv.Need(t, testenv.TCX)
	for _, mode := range []Mode{Generic, Native} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWired(t, mode, 1500)
			ended := keepEarly(t, w.Dataplane)
			w.shuffle(t, mode)
			ended()
		})
	}
}

// keepEarly keeps fragments, in the test's network namespace, until it is called
// off.
func keepEarly(t *testing.T, d *Dataplane) (end func()) {
	t.Helper()
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		defer namespace.Close()
		runtime.LockOSThread() // which ends with it
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			ended <- err
			return
		}
		ended <- d.KeepEarlyFragments(ctx)
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// shuffle sends datagrams to services, each in fragments in an order of its own.
func (w *wired) shuffle(t *testing.T, mode Mode) {
	t.Helper()
	for _, test := range []struct{ vip, rip, client, method string }{
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-m"},
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-g"},
		{"10.0.0.80", "192.168.1.11", "172.16.0.5", "-i"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-m"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-g"},
		{"[2001:db8::80]", "[2001:db8:1::11]", "2001:db8:c::5", "-i"},
	} {
		vip := netip.MustParseAddrPort(test.vip + ":53")
		from := netip.AddrPortFrom(netip.MustParseAddr(test.client), 4000)
		w.begin(t, mode, 1500)
		w.apply("-A -u "+vip.String()+" -s rr", "-a -u "+vip.String()+" -r "+test.rip+":53 "+test.method)
		w.wire()
		datagram := udp(from, vip, bytes.Repeat([]byte("lvsx"), 30)...)
		for id, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			fragments := inFragments(datagram, uint16(id), 32, 64)
			for _, i := range order {
				w.put(t, w.sides["client"], fragments[i])
			}
			if wrong := w.arrives(test.method, datagram); wrong != "" {
				t.Errorf("%s %s, order %v: %s", test.vip, test.method, order, wrong)
			}
		}
	}
}

// arrives tells what is wrong with the datagram whose fragments come to the server.
func (w *wired) arrives(method string, datagram []byte) string {
	var fragments [][]byte
	for range 3 {
		got, err := next(w.sides["server"].conn, 10*time.Second)
		if err != nil {
			return fmt.Sprintf("%d of 3 fragments: %v", len(fragments), err)
		}
		fragments = append(fragments, unpacked(method, withoutPadding(got[14:])))
	}
	slices.SortFunc(fragments, func(a, b []byte) int { return cmp.Compare(placeOf(a), placeOf(b)) })
	got := whole(fragments)
	_, _, _, want := transportOf(datagram)
	if _, _, _, l4 := transportOf(got); !bytes.Equal(l4[8:], want[8:]) {
		return fmt.Sprintf("got %x", l4)
	}
	return broken(got)
}

// placeOf is where in its packet a fragment belongs.
func placeOf(ip []byte) uint16 {
	if ip[0]>>4 == 4 {
		return binary.BigEndian.Uint16(ip[6:]) & 0x1fff
	}
	return binary.BigEndian.Uint16(ip[42:]) >> 3
}

// Those whose first never comes are forgotten, and are no more than a number.
func TestEarlyFragmentsAreForgotten(t *testing.T) {
	b := newBench(t)
	kept := []earlyFragment{{frame: make([]byte, 100)}, {frame: make([]byte, 100)}}
	for looks := 0; len(kept) > 0; looks++ {
		if looks > 20 {
			t.Fatalf("kept after %d looks: pauses of %s", looks, kept[0].pause)
		}
		for i := range kept {
			kept[i].next = time.Time{}
		}
		kept = b.readmit(kept)
	}
}

// A first fragment that came too long ago lets nothing in: what follows it is early,
// and would be so again.
func TestFirstIsForgotten(t *testing.T) {
	b := newBench(t, "-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -m")
	b.send(clientMAC, inFragments(udp(client, dns, make([]byte, 64)...), 7, 32)[0])
	var key directorFragmentKey
	if err := b.maps.Fragments.NextKey(nil, &key); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {fragmentLife - time.Second, true}, {time.Second, false}} {
		b.pass(step.after)
		if got := b.knowsFirst(key); got != step.want {
			t.Errorf("%s later the first is known: %t", step.after, got)
		}
	}
}

// What the datapath says is taken apart, whatever it says.
func FuzzEarlyFragment(f *testing.F) {
	f.Add(make([]byte, 48))
	f.Add(append(make([]byte, 44), 4, 0, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, sample []byte) {
		early, ok := parseEarly(sample)
		if ok && (len(early.frame) != int(early.Size) || len(sample) < 48+len(early.frame)) {
			t.Errorf("%x: a frame of %d bytes", sample, len(early.frame))
		}
	})
}
