// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// Datagrams of many times the MTU reach a real server, and its answers the client.
func checkFragments(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service := netip.AddrPortFrom(c.Service.Addr(), 5100).String()
	configure(t, c, "-A", "-u", service, "-s", "rr")
	for _, s := range c.Servers {
		address := netip.AddrPortFrom(s.RIP, 5100).String()
		configure(t, c, slices.Concat([]string{"-a", "-u", service, "-r", address, optionOf[c.Method]}, c.Tunnel())...)
		if c.Method != lab.NAT {
			address = service
		}
		echo(t, c, s.Name, address)
	}
	for _, size := range []int{100, 4000, 20000, 100, 60000} {
		ask(t, c, "client", service, bulk(t, size))
	}
	if c.Service.Addr().Is4() {
		for _, size := range []int{1500 - 28, 2900, 8000} {
			askUnmindful(t, c, service, bulk(t, size))
		}
	}
}

// A datagram whose second fragment comes first arrives, too.
func TestFragmentOvertakes(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	c := newCluster(t, lab.NAT, lab.Options{XDP: "auto"})
	checkAttached(t, c, host.GenericXDP) // that a veth's peer need not know of
	service := netip.AddrPortFrom(c.Service.Addr(), 5000)
	configure(t, c, "-A", "-u", service.String(), "-s", "rr")
	for _, s := range c.Servers {
		address := fmt.Sprint(s.RIP, ":5000")
		configure(t, c, "-a", "-u", service.String(), "-r", address, "-m")
		echo(t, c, s.Name, address)
	}
	datagram := bytes.Repeat([]byte("overtaken "), 100)
	var socket *net.UDPConn
	err := c.Node("client").Do(func() (err error) {
		if socket, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(service)); err != nil {
			return err
		}
		return sendReversed(socket.LocalAddr().(*net.UDPAddr).AddrPort(), service, datagram)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	n, err := socket.Read(answer)
	if err != nil || !bytes.Equal(answer[:n], datagram) {
		t.Errorf("%d bytes of %d came back, %v", n, len(datagram), err)
	}
}

// sendReversed sends a datagram in two fragments, the second one first. The
// kernel fills in what is left out of the headers (raw(7)).
func sendReversed(from, to netip.AddrPort, payload []byte) error {
	const protocol, header, cut, id = 17, 20, 504, 4711
	segment := binary.BigEndian.AppendUint16(nil, from.Port())
	segment = binary.BigEndian.AppendUint16(segment, to.Port())
	segment = binary.BigEndian.AppendUint16(segment, uint16(8+len(payload)))
	segment = append(append(segment, 0, 0), payload...) // no checksum
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	for _, part := range []struct {
		field   uint16
		payload []byte
	}{{cut / 8, segment[cut:]}, {1 << 13, segment[:cut]}} {
		ip := make([]byte, header, header+len(part.payload))
		ip[0], ip[8], ip[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(ip[4:], id)
		binary.BigEndian.PutUint16(ip[6:], part.field)
		copy(ip[12:], from.Addr().AsSlice())
		copy(ip[16:], to.Addr().AsSlice())
		if err := unix.Sendto(socket, append(ip, part.payload...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
			return err
		}
	}
	return nil
}

// echo sends back what comes to an address of a node.
func echo(t *testing.T, c *lab.Cluster, node, address string) {
	t.Helper()
	var socket net.PacketConn
	err := c.Node(node).Do(func() (err error) {
		socket, err = net.ListenPacket("udp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			_, _ = socket.WriteTo(buffer[:n], from) // the client misses what is not sent
		}
	}()
}

// bulk returns bytes of which none can be taken for others.
func bulk(t *testing.T, size int) []byte {
	t.Helper()
	bytes, err := io.ReadAll(lab.Bulk(uint64(size), int64(size)))
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// ask sends a datagram from a node and wants it back. It sends again when it
// hears that the path carries less than the socket thought.
func ask(t *testing.T, c *lab.Cluster, node, service string, datagram []byte) {
	t.Helper()
	askBy(t, c, node, net.Dialer{}, service, datagram)
}

// askUnmindful does it by a socket that does not mind what the path carries: its
// datagrams may be fragmented on their way.
func askUnmindful(t *testing.T, c *lab.Cluster, service string, datagram []byte) {
	t.Helper()
	askBy(t, c, "client", net.Dialer{Control: func(_, _ string, socket syscall.RawConn) error {
		var err error
		return errors.Join(socket.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		}), err)
	}}, service, datagram)
}

func askBy(t *testing.T, c *lab.Cluster, node string, dialer net.Dialer, service string, datagram []byte) {
	t.Helper()
	var socket net.Conn
	err := c.Node(node).Do(func() (err error) {
		socket, err = dialer.Dial("udp", service)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer, n := make([]byte, 1<<16), 0
	for err = unix.EMSGSIZE; errors.Is(err, unix.EMSGSIZE); {
		if _, err := socket.Write(datagram); err != nil {
			t.Fatal(err)
		}
		n, err = socket.Read(answer)
	}
	if err != nil || !bytes.Equal(answer[:n], datagram) {
		t.Errorf("%s: %d bytes: %d came back, %v", node, len(datagram), n, err)
	}
}
