// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

var vip = netip.MustParseAddr("192.0.2.1")

// newDirector returns a namespace with eth0 (10.0.0.1/24), and its neighbour.
func newDirector(t *testing.T) (director, neighbour *host.Namespace) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	director, neighbour = testenv.Namespace(t, "director"), testenv.Namespace(t, "neighbour")
	end := host.VethEnd{Namespace: director, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	if err := host.AddVeth(end, host.VethEnd{Namespace: neighbour, Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	do(t, director, func() error { return configure("eth0", "10.0.0.1/24") })
	do(t, neighbour, func() error { return configure("eth0", "10.0.0.2/24") })
	return director, neighbour
}

func TestAddVIPAnnounces(t *testing.T) {
	director, neighbour := newDirector(t)
	var conn *packet.Conn
	do(t, neighbour, func() error {
		l, err := host.LinkByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(&net.Interface{Index: l.Index, Name: l.Name}, packet.Raw, unix.ETH_P_ARP, nil)
		return err
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is there already is announced again
		do(t, director, func() error { return host.AddVIP("eth0", vip) })
		got := []string{nextAnnouncement(t, conn), nextAnnouncement(t, conn)}
		want := []string{
			"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff request 192.0.2.1 (02:00:00:00:00:01) for 192.0.2.1 (00:00:00:00:00:00)",
			"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff reply 192.0.2.1 (02:00:00:00:00:01) for 192.0.2.1 (ff:ff:ff:ff:ff:ff)",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("announcements (-want +got):\n%s", diff)
		}
	}
}

// nextAnnouncement describes the next ARP packet whose sender is the VIP.
func nextAnnouncement(t *testing.T, conn *packet.Conn) string {
	t.Helper()
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		frame := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
		ethernet, isEthernet := frame.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		arp, isARP := frame.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !isEthernet || !isARP || !net.IP(arp.SourceProtAddress).Equal(vip.AsSlice()) {
			continue
		}
		operation := map[uint16]string{layers.ARPRequest: "request", layers.ARPReply: "reply"}[arp.Operation]
		return ethernet.SrcMAC.String() + " > " + ethernet.DstMAC.String() + " " + operation + " " +
			net.IP(arp.SourceProtAddress).String() + " (" + net.HardwareAddr(arp.SourceHwAddress).String() + ") for " +
			net.IP(arp.DstProtAddress).String() + " (" + net.HardwareAddr(arp.DstHwAddress).String() + ")"
	}
}

func TestVIPComesAndGoes(t *testing.T) {
	director, _ := newDirector(t)
	addresses := func() []string {
		var texts []string
		do(t, director, func() error {
			found, err := host.Addresses("eth0")
			for _, a := range found {
				if a.Addr().Is4() {
					texts = append(texts, a.String())
				}
			}
			return err
		})
		return texts
	}
	for range 2 {
		do(t, director, func() error { return host.AddVIP("eth0", vip) })
	}
	if diff := cmp.Diff([]string{"10.0.0.1/24", "192.0.2.1/32"}, addresses()); diff != "" {
		t.Errorf("after add (-want +got):\n%s", diff)
	}
	for range 2 {
		do(t, director, func() error { return host.DeleteVIP("eth0", vip) })
	}
	if diff := cmp.Diff([]string{"10.0.0.1/24"}, addresses()); diff != "" {
		t.Errorf("after del (-want +got):\n%s", diff)
	}
}

// A VIP that was put up as `ifconfig eth0:1 VIP netmask 255.255.255.255`, with
// a host route, is the same VIP.
func TestVIPPutUpByHand(t *testing.T) {
	director, _ := newDirector(t)
	testenv.Need(t, testenv.Program("ip"))
	byHand := "ip address add 192.0.2.1/32 dev eth0 label eth0:1; ip route add 192.0.2.1/32 dev eth0"
	if out, err := director.Command("/bin/sh", "-ec", byHand).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	do(t, director, func() error { return host.AddVIP("eth0", vip) })
	do(t, director, func() error { return host.DeleteVIP("eth0", vip) })
	do(t, director, func() error {
		has, err := host.HasAddress("eth0", netip.PrefixFrom(vip, 32))
		if has {
			t.Error("VIP is there after del")
		}
		return err
	})
}

func TestAddVIPRefuses(t *testing.T) {
	director, _ := newDirector(t)
	do(t, director, func() error {
		_, err := host.AddAddress("lo", netip.MustParsePrefix("192.0.2.9/32"))
		return errors.Join(err, host.AddBridge("br0"))
	})
	for _, test := range []struct{ name, link, vip, err string }{
		{"multicast", "eth0", "224.0.0.18", "not an address that clients can connect to"},
		{"broadcast", "eth0", "255.255.255.255", "not an address that clients can connect to"},
		{"loopback address", "eth0", "127.0.0.1", "not an address that clients can connect to"},
		{"nothing", "eth0", "0.0.0.0", "not an address that clients can connect to"},
		{"link-local", "eth0", "fe80::1", "not an address that clients can connect to"},
		{"no such interface", "eth7", "192.0.2.1", "find interface eth7: no such interface"},
		{"loopback interface", "lo", "192.0.2.1", "no neighbour asks there"},
		{"interface is down", "br0", "192.0.2.1", "`ip link set br0 up` first"},
		{"director's own address", "eth0", "10.0.0.1", "10.0.0.1/24 is on eth0 already"},
		{"real server's VIP", "eth0", "192.0.2.9", "`ip address del 192.0.2.9/32 dev lo` first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := director.Do(func() error { return host.AddVIP(test.link, netip.MustParseAddr(test.vip)) })
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error is %v, want %q", err, test.err)
			}
		})
	}
}

func TestSysctlName(t *testing.T) {
	for sysctl, want := range map[host.Sysctl]string{
		host.InterfaceSysctl("eth0", "arp_ignore"):    "net.ipv4.conf.eth0.arp_ignore",
		host.InterfaceSysctl("eth0.10", "arp_ignore"): "net.ipv4.conf.eth0/10.arp_ignore",
	} {
		if sysctl.String() != want {
			t.Errorf("name is %s, want %s", sysctl, want)
		}
	}
}

func TestStateDirIsPerNamespace(t *testing.T) {
	director, neighbour := newDirector(t)
	dirs, cookies := make(map[string]bool), make(map[uint64]bool)
	for _, n := range []*host.Namespace{director, neighbour, director} {
		do(t, n, func() error {
			unlock, err := host.LockState()
			if err != nil {
				return err
			}
			defer unlock()
			dir, err := host.StateDir()
			if err != nil {
				return err
			}
			cookie, err := host.NetworkCookie()
			dirs[dir], cookies[cookie] = true, true
			return errors.Join(err, host.RemoveStateDir())
		})
	}
	if len(dirs) != 2 || len(cookies) != 2 {
		t.Errorf("two namespaces have directories %v and cookies %v", dirs, cookies)
	}
}

func TestRoutes(t *testing.T) {
	director, _ := newDirector(t)
	gateway, network := netip.MustParseAddr("10.0.0.2"), netip.MustParsePrefix("198.51.100.0/24")
	do(t, director, func() error {
		if defaults, err := host.DefaultRoutes(netip.IPv4Unspecified()); err != nil || len(defaults) != 0 {
			t.Errorf("default routes are %v, %v, want none", defaults, err)
		}
		if err := errors.Join(host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), gateway, ""), host.AddRoute(network, gateway, "eth0")); err != nil {
			return err
		}
		link, err := host.LinkByName("eth0")
		if err != nil {
			return err
		}
		defaults, err := host.DefaultRoutes(netip.IPv4Unspecified())
		if len(defaults) != 1 || defaults[0].Gateway != gateway || defaults[0].Link != link.Index {
			t.Errorf("default routes are %+v", defaults)
		}
		if all, _ := host.Routes(); len(all) != 3 { // with that of the link's own network
			t.Errorf("routes are %+v", all)
		}
		return errors.Join(err, host.DeleteRoute(network), host.DeleteRoute(network))
	})
	do(t, director, func() error {
		path, err := host.PathTo(netip.MustParseAddr("10.0.0.1"))
		if !path.Local {
			t.Errorf("own address: %+v", path)
		}
		return err
	})
}
