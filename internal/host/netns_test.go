// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

func TestNamespaceDo(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	outside, err := host.NetworkInode()
	if err != nil {
		t.Fatal(err)
	}
	n := testenv.Namespace(t, "do")

	var inside uint64
	var lo host.Link
	err = n.Do(func() (err error) {
		if inside, err = host.NetworkInode(); err != nil {
			return err
		}
		lo, err = host.LinkByName("lo")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if inside != n.Inode() || inside == outside {
		t.Errorf("inode inside is %d, of the namespace %d, outside %d", inside, n.Inode(), outside)
	}
	if !lo.Up || !lo.Loopback {
		t.Errorf("loopback is not up: %+v", lo)
	}
	if back, _ := host.NetworkInode(); back != outside {
		t.Errorf("after Do the thread is in %d, want %d", back, outside)
	}
}

func TestNamespaceCommand(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	n := testenv.Namespace(t, "command")
	out, err := n.Command("/bin/readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != fmt.Sprintf("net:[%d]", n.Inode()) {
		t.Errorf("command ran in namespace %s, want %d", got, n.Inode())
	}
}

func TestNamespaceNames(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	n := testenv.Namespace(t, "names")
	if _, err := host.NewNamespace(n.Name()); !errors.Is(err, os.ErrExist) {
		t.Errorf("second namespace of that name: %v, want %v", err, os.ErrExist)
	}
	if opened, err := host.OpenNamespace(n.Name()); err != nil || opened.Inode() != n.Inode() {
		t.Errorf("opened %+v, %v; want inode %d", opened, err, n.Inode())
	}
	for _, bad := range []string{"", "..", "a/b"} {
		if _, err := host.NewNamespace(bad); err == nil {
			t.Errorf("namespace %q was made", bad)
		}
	}
	for range 2 {
		if err := n.Delete(); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := host.OpenNamespace(n.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open after delete: %v, want %v", err, os.ErrNotExist)
	}
}

func TestVethAcrossNamespaces(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	a, b := testenv.Namespace(t, "a"), testenv.Namespace(t, "b")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	if err := host.AddVeth(host.VethEnd{Namespace: a, Name: "eth0"}, host.VethEnd{Namespace: b, Name: "eth0", MAC: mac, MTU: 1400}); err != nil {
		t.Fatal(err)
	}
	do(t, a, func() error { return configure("eth0", "192.0.2.1/24") })
	do(t, b, func() error { return configure("eth0", "192.0.2.2/24") })
	do(t, b, func() error {
		link, err := host.LinkByName("eth0")
		if link.MAC.String() != mac.String() || link.MTU != 1400 || !link.Up || !link.Ethernet || !link.ARP || link.Kind != "veth" {
			t.Errorf("link is %+v", link)
		}
		return err
	})
	do(t, a, func() error {
		path, err := host.PathTo(netip.MustParseAddr("192.0.2.2"))
		if want := netip.MustParseAddr("192.0.2.1"); path.Source != want || path.Local {
			t.Errorf("path is %+v, want source %s", path, want)
		}
		return err
	})
	exchange(t, a, b, "192.0.2.2:7000")
}

func TestBridge(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	a, b, middle := testenv.Namespace(t, "a"), testenv.Namespace(t, "b"), testenv.Namespace(t, "middle")
	do(t, middle, func() error { return errors.Join(host.AddBridge("br0"), host.SetUp("br0")) })
	for address, n := range map[string]*host.Namespace{"192.0.2.1/24": a, "192.0.2.2/24": b} {
		port := n.Name()[len(n.Name())-1:]
		if err := host.AddVeth(host.VethEnd{Namespace: n, Name: "eth0"}, host.VethEnd{Namespace: middle, Name: port}); err != nil {
			t.Fatal(err)
		}
		do(t, middle, func() error { return errors.Join(host.SetBridge(port, "br0"), host.SetUp(port)) })
		do(t, n, func() error { return configure("eth0", address) })
	}
	exchange(t, a, b, "192.0.2.2:7000")
	do(t, middle, func() error { return errors.Join(host.DeleteLink("a"), host.DeleteLink("a")) })
	do(t, a, func() error {
		if _, err := host.LinkByName("eth0"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("other end of a deleted veth: %v, want %v", err, os.ErrNotExist)
		}
		return nil
	})
}

func TestDisableTransmitOffload(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.Program("ethtool"))
	n := testenv.Namespace(t, "offload")
	do(t, n, func() error { return host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "eth1"}) })
	for range 2 {
		do(t, n, func() error { return host.DisableTransmitOffload("eth0") })
	}
	out, err := n.Command("ethtool", "-k", "eth0").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tx-checksumming: off", "tcp-segmentation-offload: off"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ethtool does not say %q:\n%s", want, out)
		}
	}
}

func do(t *testing.T, n *host.Namespace, f func() error) {
	t.Helper()
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

// configure gives a link its address and brings it up.
func configure(link, address string) error {
	_, err := host.AddAddress(link, netip.MustParsePrefix(address))
	return errors.Join(err, host.SetUp(link))
}

// exchange sends a word from one namespace to another by TCP.
func exchange(t *testing.T, client, server *host.Namespace, address string) {
	t.Helper()
	var listener net.Listener
	do(t, server, func() (err error) { listener, err = net.Listen("tcp", address); return err })
	defer listener.Close()
	var conn net.Conn
	do(t, client, func() (err error) { conn, err = net.Dial("tcp4", address); return err })
	conn.Close()
}
