// SPDX-License-Identifier: Apache-2.0

package realserver_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/realserver"
)

var (
	vip6      = netip.MustParseAddr("2001:db8::80")
	director6 = netip.MustParseAddr("2001:db8:1::1")
	rip6      = netip.MustParseAddr("2001:db8:1::2")
)

// newStage6 has IPv6 addresses, too, and serves a VIP of that family.
func newStage6(t *testing.T) stage {
	t.Helper()
	s := newStage(t)
	check(t, s.director.Do(func() error { return configure("eth0", director6.String()+"/64") }))
	check(t, s.server.Do(func() error {
		_, err := realserver.Up(realserver.Request{Method: realserver.DR, VIPs: []netip.Addr{vip6}})
		return errors.Join(configure("eth0", rip6.String()+"/64"), err)
	}))
	return s
}

// Only the director may be found for a VIP: neither whoever looks for the VIP
// nor whoever thinks to know it finds a real server.
func TestDiscoveryIsNotAnswered(t *testing.T) {
	s := newStage6(t)
	conn := listenFrames(t, s.director, unix.ETH_P_IPV6)
	server := macOf(t, s.server)
	var frame gopacket.Packet
	for range 20 { // the link takes a moment to come up
		check(t, conn.SetDeadline(time.Now().Add(patience/20)))
		solicit(t, conn, vip6, groupOf(vip6), net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 0x80})
		solicit(t, conn, vip6, groupOf(vip6), server)
		solicit(t, conn, vip6, vip6, server)
		solicit(t, conn, rip6, groupOf(rip6), net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 2})
		if frame = nextFrame(conn, layers.LayerTypeICMPv6NeighborAdvertisement); frame != nil {
			break
		}
	}
	if frame == nil {
		t.Fatalf("no answer for %s", rip6)
	}
	answer := frame.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !answer.TargetAddress.Equal(rip6.AsSlice()) {
		t.Errorf("the first answer is for %s, want none before that for %s", answer.TargetAddress, rip6)
	}
}

// A real server that answers from the VIP does not tell neighbours about it.
func TestDiscoveryDoesNotTellTheVIP(t *testing.T) {
	s := newStage6(t)
	conn := listenFrames(t, s.director, unix.ETH_P_IPV6)
	check(t, s.server.Do(func() error {
		socket, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(vip6, 0)))
		if err != nil {
			return err
		}
		defer socket.Close()
		_, err = socket.WriteToUDPAddrPort([]byte("answer"), netip.MustParseAddrPort("[2001:db8:1::99]:53"))
		return err
	}))
	for {
		question := nextFrame(conn, layers.LayerTypeICMPv6NeighborSolicitation)
		if question == nil {
			t.Fatal("it asks for nobody")
		}
		target := question.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation).TargetAddress
		if !target.Equal(net.ParseIP("2001:db8:1::99")) {
			continue
		}
		if source := question.NetworkLayer().(*layers.IPv6).SrcIP; source.Equal(vip6.AsSlice()) {
			t.Errorf("asked for %s from the VIP", target)
		}
		return
	}
}

// Nor does it take the VIP for what it sends by itself.
func TestVIPIsNoSource(t *testing.T) {
	s := newStage6(t)
	check(t, s.server.Do(func() error {
		path, err := host.PathTo(director6)
		if path.Source != rip6 {
			t.Errorf("packets to %s come from %s, want %s", director6, path.Source, rip6)
		}
		return err
	}))
}

func macOf(t *testing.T, n *host.Namespace) net.HardwareAddr {
	t.Helper()
	var mac net.HardwareAddr
	check(t, n.Do(func() error {
		l, err := host.LinkByName("eth0")
		mac = l.MAC
		return err
	}))
	return mac
}

// groupOf is the solicited-node multicast address (RFC 4291, section 2.7.1).
func groupOf(a netip.Addr) netip.Addr {
	last := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: last[13], 14: last[14], 15: last[15]})
}

// solicit asks for an address, by a packet to another.
func solicit(t *testing.T, conn *packet.Conn, target, to netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	own := conn.LocalAddr().(*packet.Addr).HardwareAddr
	header := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: director6.AsSlice(), DstIP: to.AsSlice()}
	message := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	check(t, message.SetNetworkLayerForChecksum(header))
	buffer := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: own, DstMAC: mac, EthernetType: layers.EthernetTypeIPv6}, header, message,
		&layers.ICMPv6NeighborSolicitation{
			TargetAddress: target.AsSlice(),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: own}},
		}))
	_, err := conn.WriteTo(buffer.Bytes(), &packet.Addr{HardwareAddr: mac})
	check(t, err)
}

// nextFrame returns the next frame with a layer, nil if none comes in time.
func nextFrame(conn *packet.Conn, kind gopacket.LayerType) gopacket.Packet {
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return nil
		}
		frame := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
		if frame.Layer(kind) != nil {
			return frame
		}
	}
}
