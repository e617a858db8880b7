// SPDX-License-Identifier: Apache-2.0

package realserver_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// The stage of these tests. The director plays clients too, with packets made
// by hand; replies to 198.51.100.0/24 leave by a link of their own.
//
//	director 10.0.0.1 eth0 --- eth0 10.0.0.2 server 10.1.0.2 eth1 --- eth0 10.1.0.9 outlet
type stage struct {
	director, server, outlet *host.Namespace
}

var (
	vip      = netip.MustParseAddr("192.0.2.1")
	director = netip.MustParseAddr("10.0.0.1")
	rip      = netip.MustParseAddr("10.0.0.2")
	client   = netip.MustParseAddr("198.51.100.7")
)

const patience = 5 * time.Second

func newStage(t *testing.T) stage {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	s := stage{testenv.Namespace(t, "director"), testenv.Namespace(t, "server"), testenv.Namespace(t, "outlet")}
	check(t, host.AddVeth(host.VethEnd{Namespace: s.server, Name: "eth0"}, host.VethEnd{Namespace: s.director, Name: "eth0"}))
	check(t, host.AddVeth(host.VethEnd{Namespace: s.server, Name: "eth1"}, host.VethEnd{Namespace: s.outlet, Name: "eth0"}))
	check(t, s.director.Do(func() error { return configure("eth0", "10.0.0.1/24") }))
	check(t, s.outlet.Do(func() error { return configure("eth0", "10.1.0.9/24") }))
	check(t, s.server.Do(func() error {
		return errors.Join(
			configure("eth0", "10.0.0.2/24"),
			configure("eth1", "10.1.0.2/24"),
			host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), director, ""),
			host.AddRoute(netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr("10.1.0.9"), ""))
	}))
	return s
}

func configure(link, address string) error {
	_, err := host.AddAddress(link, netip.MustParsePrefix(address))
	return errors.Join(err, host.SetUp(link))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a UDP socket of the server on port 80 of the VIP.
func (s stage) listen(t *testing.T) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	check(t, s.server.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(vip, 80)))
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// send lets the director send an IPv4 packet with all its headers.
func (s stage) send(t *testing.T, parts ...gopacket.SerializableLayer) {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	to := unix.SockaddrInet4{Addr: [4]byte(buffer.Bytes()[16:20])}
	check(t, s.director.Do(func() error {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(socket)
		return os.NewSyscallError("sendto", unix.Sendto(socket, buffer.Bytes(), 0, &to))
	}))
}

// ip returns a header; the next layer's protocol is given.
func ip(from, to netip.Addr, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
}

// udp returns a header between two addresses.
func udp(from, to netip.Addr, source, destination layers.UDPPort) *layers.UDP {
	header := &layers.UDP{SrcPort: source, DstPort: destination}
	if err := header.SetNetworkLayerForChecksum(ip(from, to, layers.IPProtocolUDP)); err != nil {
		panic(err)
	}
	return header
}

// datagram returns a client's packet to the VIP.
func datagram(text string) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{ip(client, vip, layers.IPProtocolUDP), udp(client, vip, 4242, 80), gopacket.Payload(text)}
}

// tunnel wraps a client's packet.
func tunnel(from netip.Addr, text string) []gopacket.SerializableLayer {
	return append([]gopacket.SerializableLayer{ip(from, rip, layers.IPProtocolIPv4)}, datagram(text)...)
}

func receive(t *testing.T, conn *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	buffer := make([]byte, 2000)
	n, from, err := conn.ReadFromUDPAddrPort(buffer)
	check(t, err)
	return string(buffer[:n]), from
}

// listenFrames opens a socket that sees frames of one type on eth0.
func listenFrames(t *testing.T, n *host.Namespace, etherType int) *packet.Conn {
	t.Helper()
	var conn *packet.Conn
	check(t, n.Do(func() error {
		l, err := host.LinkByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC}, packet.Raw, etherType, nil)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// nextARP returns the next ARP packet with this operation that comes in.
func nextARP(t *testing.T, conn *packet.Conn, operation uint16) *layers.ARP {
	t.Helper()
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buffer)
		check(t, err)
		frame := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
		if arp, ok := frame.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == operation {
			return arp
		}
	}
}

// nextIPv4 waits for a packet between two addresses.
func nextIPv4(t *testing.T, conn *packet.Conn, from, to netip.Addr) bool {
	t.Helper()
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		header, ok := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if ok && header.SrcIP.Equal(from.AsSlice()) && header.DstIP.Equal(to.AsSlice()) {
			return true
		}
	}
}

// ask sends an ARP request of the director's for an address.
func ask(t *testing.T, conn *packet.Conn, address netip.Addr) {
	t.Helper()
	mac := conn.LocalAddr().(*packet.Addr).HardwareAddr
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	buffer := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{},
		&layers.Ethernet{SrcMAC: mac, DstMAC: broadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: director.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: address.AsSlice(),
		}))
	_, err := conn.WriteTo(buffer.Bytes(), &packet.Addr{HardwareAddr: broadcast})
	check(t, err)
}
