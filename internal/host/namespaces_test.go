// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

func TestRemoveForgetsStateAndPins(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	n := testenv.Namespace(t, "remove")
	var state, pins string
	do(t, n, func() error {
		dir, err := host.StateDir()
		if err != nil {
			return err
		}
		state = dir
		if err := os.WriteFile(filepath.Join(state, "director.sock"), nil, 0o600); err != nil {
			return err
		}
		return host.InHostMounts(func() (err error) {
			if pins, err = host.PinDir(); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(pins, "links"), 0o700)
		})
	})
	for range 2 {
		if err := host.Remove([]*host.Namespace{n}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{state, pins, n.Path()} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

func TestNamespacesAreFoundByPrefix(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	a, _ := testenv.Namespace(t, "prefix-a"), testenv.Namespace(t, "other")
	found, err := host.Namespaces(a.Name()[:len(a.Name())-1])
	if err != nil || len(found) != 1 || found[0].Name() != a.Name() || found[0].Inode() != a.Inode() {
		t.Errorf("found %+v, %v; want %s alone", found, err, a.Name())
	}
}

func TestLinkTrafficAndFrames(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	a, b := testenv.Namespace(t, "a"), testenv.Namespace(t, "b")
	if err := host.AddVeth(host.VethEnd{Namespace: a, Name: "eth0"}, host.VethEnd{Namespace: b, Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	do(t, a, func() error { return configure("eth0", "192.0.2.1/24") })
	do(t, b, func() error { return configure("eth0", "192.0.2.2/24") })
	do(t, b, func() error { return host.AcceptFrames("eth0") })
	var before, after host.Traffic
	read := func(into *host.Traffic) func() error {
		return func() (err error) { *into, err = host.LinkTraffic("eth0"); return err }
	}
	do(t, b, read(&before))
	exchange(t, a, b, "192.0.2.2:7000")
	do(t, b, read(&after))
	// SYN and ACK at least, and none shorter than ARP, which is 28 bytes.
	if packets, size := after.RxPackets-before.RxPackets, after.RxBytes-before.RxBytes; packets < 2 || size < packets*28 {
		t.Errorf("received %d packets, %d bytes", packets, size)
	}
	do(t, b, func() error {
		link, err := host.LinkByName("eth0")
		if link.XDP != host.NativeXDP || !link.Running {
			t.Errorf("link is %+v, want it running, with native XDP", link)
		}
		path, pathErr := host.PathTo(netip.MustParseAddr("192.0.2.1"))
		if pathErr == nil && path.Link != link.Index {
			t.Errorf("path is %+v, want it by link %d", path, link.Index)
		}
		return errors.Join(err, pathErr)
	})
}
