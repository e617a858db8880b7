// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	arpRequest = 1
	arpReply   = 2
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// AnnounceAddress tells the neighbours on the link that the address is here
// now: by gratuitous ARP, or by an unsolicited neighbour advertisement.
func AnnounceAddress(link string, address netip.Addr) error {
	l, err := LinkByName(link)
	if err != nil {
		return err
	}
	if !l.Ethernet || !l.ARP {
		return fmt.Errorf("announce %s: %s does not resolve addresses by ARP", address, link)
	}
	if !l.Up {
		return fmt.Errorf("announce %s: %s is down; `ip link set %s up`", address, link, link)
	}
	if address.Is6() {
		return advertise(l, address)
	}
	return announceARP(l, address)
}

// announceARP sends both forms of RFC 5227, section 3, a request and a reply,
// as there are neighbours that learn from one only.
func announceARP(l Link, address netip.Addr) error {
	conn, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC}, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		return fmt.Errorf("announce %s: open socket on %s: %w", address, l.Name, err)
	}
	defer conn.Close()
	for _, operation := range []uint16{arpRequest, arpReply} {
		_, err = conn.WriteTo(gratuitousARP(operation, l.MAC, address), &packet.Addr{HardwareAddr: broadcast})
		if err != nil {
			return fmt.Errorf("announce %s on %s: %w", address, l.Name, err)
		}
	}
	return nil
}

// gratuitousARP returns a frame in which sender and target are one (RFC 826).
func gratuitousARP(operation uint16, mac net.HardwareAddr, address netip.Addr) []byte {
	frame := append([]byte{}, broadcast...)
	frame = append(frame, mac...)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_ARP)
	frame = binary.BigEndian.AppendUint16(frame, unix.ARPHRD_ETHER)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
	frame = append(frame, 6, 4)
	frame = binary.BigEndian.AppendUint16(frame, operation)
	frame = append(append(frame, mac...), address.AsSlice()...)
	target := broadcast
	if operation == arpRequest {
		target = make(net.HardwareAddr, 6)
	}
	return append(append(frame, target...), address.AsSlice()...)
}
