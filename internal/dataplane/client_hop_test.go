// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
)

// Replies go the way that the request came, until routing says better.
func TestWayToClient(t *testing.T) {
	b := established(t, "-m")
	reply := tcp(server11, client, "A", make([]byte, 1360)...)
	if o := b.send(serverMAC(11), reply); o.action != xdpTX || o.mac.String() != clientMAC.String() {
		t.Fatalf("without a route: %s to %s", o.verdict, o.mac)
	}
	routed := net.HardwareAddr{2, 0, 0, 0, 0xff, 1}
	b.addWay(t, "172.16.0.1/24", client.Addr(), routed, 1400)
	if o := b.send(serverMAC(11), reply); o.mac.String() != clientMAC.String() {
		t.Errorf("before routes are looked at anew: %s to %s", o.verdict, o.mac)
	}
	b.ForgetClientHops()
	if o := b.send(serverMAC(11), reply); o.verdict != "masq-out" || o.action != xdpRedirect || o.mac.String() != routed.String() {
		t.Errorf("with a route: %s to %s, action %d", o.verdict, o.mac, o.action)
	}
	unreachable := icmpError(server11.Addr(), client.Addr(), 3, 3, 0, tcp(client, server11, "A"))
	if o := b.send(serverMAC(11), unreachable); o.verdict != "error-out" || o.mac.String() != routed.String() {
		t.Errorf("an ICMP error: %s to %s", o.verdict, o.mac)
	}

	if err := b.SetInterfaces([]Interface{{Index: loopback, MAC: directorMAC, MTU: 9000}}); err != nil {
		t.Fatal(err)
	}
	if o := b.send(serverMAC(11), reply); o.verdict != "no-port" || o.action != xdpDrop {
		t.Errorf("by an interface that cannot send: %s", o.verdict)
	}
}

// A reply that does not fit the interface to the client is not lost without a
// word: its sender is told.
func TestReplyTooBig(t *testing.T) {
	b := established(t, "-m")
	b.addWay(t, "172.16.0.1/24", client.Addr(), net.HardwareAddr{2, 0, 0, 0, 0xff, 1}, 1400)
	b.ForgetClientHops()
	reply := tcp(server11, client, "A", make([]byte, 1361)...)
	o := b.send(serverMAC(11), reply)
	if o.verdict != "too-big" || o.mac.String() != serverMAC(11).String() || broken(o.ip) != "" {
		t.Fatalf("%s to %s, %s", o.verdict, o.mac, broken(o.ip))
	}
	if dst := address(o.ip[16:]); dst != server11.Addr() || o.ip[20] != 3 || o.ip[21] != 4 || binary.BigEndian.Uint16(o.ip[26:]) != 1400 {
		t.Errorf("told %x", o.ip[:28])
	}
	if o := b.send(serverMAC(11), withoutDF(reply)); o.verdict != "needs-fragmenting" || o.action != xdpDrop {
		t.Errorf("one that may be fragmented: %s", o.verdict)
	}
}

// addWay gives the namespace a route to the client by an interface of its own.
func (b *bench) addWay(t *testing.T, own string, to netip.Addr, mac net.HardwareAddr, mtu int) {
	t.Helper()
	ownMAC := net.HardwareAddr{2, 0, 0, 0, 0xff, 0}
	if err := host.AddVeth(host.VethEnd{Name: "a", MAC: ownMAC, MTU: mtu}, host.VethEnd{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { return host.SetUp("a") },
		func() error { return host.SetUp("b") },
		func() error { _, err := host.AddAddress("a", netip.MustParsePrefix(own)); return err },
		func() error { return host.AddNeighbour("a", to, mac) },
		func() error { return host.InterfaceSysctl("lo", "forwarding").Write(1) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	err := b.SetInterfaces([]Interface{
		{Index: loopback, MAC: directorMAC, MTU: 9000, Mode: Generic},
		{Index: linkIndex(t, "a"), MAC: ownMAC, MTU: mtu},
	})
	if err != nil {
		t.Fatal(err)
	}
}
