// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// Datagrams of many times the MTU reach a real server, and its answers the client.
func TestFragmentedDatagrams(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, xdp := range []string{"generic", "native"} {
		for method, option := range map[lab.Method]string{lab.NAT: "-m", lab.DR: "-g"} {
			t.Run(string(method)+"/"+xdp, func(t *testing.T) {
				c := newCluster(t, method, lab.Options{XDP: xdp})
				service := fmt.Sprint(c.Service.Addr(), ":5000")
				configure(t, c, "-A", "-u", service, "-s", "rr")
				for _, s := range c.Servers {
					address := fmt.Sprint(s.RIP, ":5000")
					configure(t, c, "-a", "-u", service, "-r", address, option)
					if method == lab.DR {
						address = service
					}
					echo(t, c, s.Name, address)
				}
				for _, size := range []int{100, 4000, 20000, 100, 60000} {
					ask(t, c, service, bytes.Repeat([]byte{byte(size)}, size))
				}
			})
		}
	}
}

// A datagram whose second fragment comes first arrives, too.
func TestFragmentOvertakes(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	c := newCluster(t, lab.NAT, lab.Options{XDP: "auto"})
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
	if err := socket.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
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
		socket, err = net.ListenPacket("udp4", address)
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

// ask sends a datagram from the client and wants it back.
func ask(t *testing.T, c *lab.Cluster, service string, datagram []byte) {
	t.Helper()
	var socket net.Conn
	err := c.Node("client").Do(func() (err error) {
		socket, err = net.Dial("udp4", service)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Write(datagram); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	n, err := socket.Read(answer)
	if err != nil || !bytes.Equal(answer[:n], datagram) {
		t.Errorf("%d bytes: %d came back, %v", len(datagram), n, err)
	}
}
