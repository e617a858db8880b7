// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

var vip6 = netip.MustParseAddr("2001:db8::1")

// An unsolicited advertisement overrides what neighbours knew of the VIP.
func TestAddVIPAdvertises(t *testing.T) {
	director, neighbour := newDirector(t)
	var conn *packet.Conn
	do(t, neighbour, func() error {
		l, err := host.LinkByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(&net.Interface{Index: l.Index, Name: l.Name}, packet.Raw, unix.ETH_P_IPV6, nil)
		return err
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is there already is announced again
		do(t, director, func() error { return host.AddVIP("eth0", vip6) })
		want := []string{
			"02:00:00:00:00:01 > 33:33:00:00:00:01, 2001:db8::1 > ff02::1, hop limit 255",
			"flags 20, target 2001:db8::1, options TargetAddress(020000000001)",
		}
		if diff := cmp.Diff(want, nextAdvertisement(t, conn)); diff != "" {
			t.Errorf("advertisement (-want +got):\n%s", diff)
		}
	}
}

// nextAdvertisement describes the next neighbour advertisement of the VIP.
func nextAdvertisement(t *testing.T, conn *packet.Conn) []string {
	t.Helper()
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		frame := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
		advertisement, ok := frame.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		if !ok || !advertisement.TargetAddress.Equal(vip6.AsSlice()) {
			continue
		}
		ethernet := frame.LinkLayer().(*layers.Ethernet)
		header := frame.NetworkLayer().(*layers.IPv6)
		options := ""
		for _, o := range advertisement.Options {
			options += o.Type.String() + "(" + hex.EncodeToString(o.Data) + ")"
		}
		return []string{
			ethernet.SrcMAC.String() + " > " + ethernet.DstMAC.String() + ", " + header.SrcIP.String() + " > " + header.DstIP.String() + ", hop limit " + strconv.Itoa(int(header.HopLimit)),
			"flags " + hex.EncodeToString([]byte{advertisement.Flags}) + ", target " + advertisement.TargetAddress.String() + ", options " + options,
		}
	}
}
