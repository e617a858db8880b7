// SPDX-License-Identifier: Apache-2.0

//go:build guest

package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/testenv"
)

// VIP and real servers are on different VLANs of one port, one of them in QinQ, one
// on none: each way and both families carry megabytes both ways, and datagrams.
func TestVLANs(t *testing.T) {
	for _, xdp := range []string{"native", "generic"} {
		t.Run(xdp, func(t *testing.T) {
			needSender(t, xdp)
			n := newSegments(t, "")
			n.direct(xdp)
			n.checkAttached(xdp)
			n.checkWays(5000)
		})
	}
}

// A bond is as good a port as a NIC, native where its links are, also after one of
// two links has failed.
func TestBonds(t *testing.T) {
	for _, bond := range []struct{ mode, xdp string }{
		{"active-backup", "native"},
		{"active-backup", "generic"},
		{"balance-xor", "native"},
	} {
		t.Run(bond.mode+"/"+bond.xdp, func(t *testing.T) {
			needSender(t, bond.xdp)
			n := newSegments(t, bond.mode)
			n.direct(bond.xdp)
			n.checkAttached(bond.xdp)
			n.checkWays(5000)
			n.sh("switch", "ip link set port0 down")
			n.checkWays(6000)
		})
	}
}

// needSender asks for a stack that sends what generic XDP decides: before Linux 6.6
// bonds and QinQ lose what it sends itself (docs/interfaces.md).
func needSender(t *testing.T, xdp string) {
	t.Helper()
	if xdp == "generic" {
		testenv.Need(t, testenv.TCX)
	}
}

// checkAttached wants the program in the driver of the port alone, which stands for
// its VLANs, and otherwise on each.
func (n *segments) checkAttached(xdp string) {
	n.t.Helper()
	want := map[string]string{n.port: xdp}
	if xdp == "generic" {
		for _, tags := range []string{".10", ".20", ".100", ".100.30"} {
			want[n.port+tags] = xdp
		}
	}
	got := make(map[string]string)
	for _, i := range askStatus(n.t, n).Interfaces {
		got[i.Name] = i.Mode
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("attached to (-want +got):\n%s", diff)
	}
}

// checkWays makes services, on ports from port on, and wants each real server to
// answer by each way.
func (n *segments) checkWays(port uint16) {
	for _, family := range families {
		for _, way := range []struct{ option, verdict string }{{"-m", "masq-in"}, {"-g", "route"}, {"-i", "tunnel"}} {
			port++
			n.checkWay(family, way.option, way.verdict, netip.AddrPortFrom(vipOf[family], port))
		}
	}
}

func (n *segments) checkWay(family, option, verdict string, service netip.AddrPort) {
	n.t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		protocol := "-" + network[:1]
		configure(n.t, n, "-A", protocol, service.String(), "-s", "rr")
		for _, s := range behindSwitch {
			rip := netip.AddrPortFrom(s.rip(family), service.Port())
			configure(n.t, n, "-a", protocol, service.String(), "-r", rip.String(), option)
			if option != "-m" {
				rip = service
			}
			returnAll(n.t, n, s.server, network, rip)
		}
	}
	before := packetsOf(n.t, n, verdict)
	for range behindSwitch {
		exchangeMegabyte(n.t, n, "client", netip.Addr{}, service)
	}
	if n.t.Failed() {
		n.t.Fatal(mustLvsx(n.t, n, "ipvsadm", "-L", "-n", "--stats"), mustLvsx(n.t, n, "status"))
	}
	if got := packetsOf(n.t, n, verdict) - before; got < 3*700 {
		n.t.Errorf("%s: %d packets were %s, less than three megabytes", service, got, verdict)
	}
	for _, s := range behindSwitch {
		n.checkServed(service, netip.AddrPortFrom(s.rip(family), service.Port()))
	}
}

// checkServed wants a connection by TCP and one by UDP to have gone to a real server.
func (n *segments) checkServed(service, rip netip.AddrPort) {
	n.t.Helper()
	for _, protocol := range []string{"-t", "-u"} {
		listing := mustLvsx(n.t, n, "ipvsadm", "-L", "-n", "--stats", "--exact", protocol, service.String())
		_, line, _ := strings.Cut(listing, "-> "+rip.String())
		if fields := strings.Fields(line); len(fields) == 0 || fields[0] != "1" {
			n.t.Errorf("%s did not get one connection of three:\n%s", rip, listing)
		}
	}
}
