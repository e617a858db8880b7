// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
)

// Ports of the services of each story about the director's own processes.
const (
	localClientPort   = 6000
	localServerPort   = 6010
	loopbackPort      = 6020
	localDatagramPort = 6030
)

// A process on the director is a client of its services. NAT takes any client;
// DR and TUN answer to an address that real servers do not have, too, and over
// IPv4 only if the director accepts the VIP as a source (accept_local).
func checkLocalClient(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service := netip.AddrPortFrom(c.Service.Addr(), localClientPort)
	for _, network := range []string{"tcp", "udp"} {
		protocol := "-" + network[:1]
		configure(t, c, "-A", protocol, service.String(), "-s", "rr")
		for _, s := range c.Servers {
			at := netip.AddrPortFrom(s.RIP, localClientPort)
			configure(t, c, "-a", protocol, service.String(), "-r", at.String(), optionOf[c.Method])
			if c.Method != lab.NAT {
				at = service
			}
			returnAll(t, c, s.Name, network, at)
		}
	}
	clients := 1
	if c.Method == lab.NAT {
		clients++
		exchangeMegabyte(t, c, "director", netip.Addr{}, service)
	} else {
		acceptVIP(t, c)
	}
	exchangeMegabyte(t, c, "director", addressToward(t, c, c.Servers[0].RIP), service)
	checkConns(t, c, service, clients)
}

// checkConns wants so many TCP connections counted.
func checkConns(t *testing.T, c *lab.Cluster, service netip.AddrPort, want int) {
	t.Helper()
	listing := mustLvsx(t, c, "ipvsadm", "-L", "-n", "--stats", "-t", service.String())
	fields := strings.Fields(listing[strings.Index(listing, service.String()):])
	if got := fields[1]; got != fmt.Sprint(want) {
		t.Errorf("%s connections were counted, want %d:\n%s", got, want, listing)
	}
}

// A real server is a process on the director, reached from outside and from the
// director, with NAT at an address and port of its own.
func checkLocalServers(t *testing.T, c *lab.Cluster) {
	t.Helper()
	own, port := addressToward(t, c, c.Servers[0].RIP), uint16(localServerPort)
	checkLocalServer(t, c, port, "-m", netip.AddrPortFrom(own, 8080), "client", "director")
	checkLocalServer(t, c, port+1, "-g", netip.AddrPortFrom(own, port+1), "client", "director")
	checkLocalServer(t, c, port+2, "-m", netip.AddrPortFrom(loopbackOf(c), 8081), "director")
}

// loopbackOf is the loopback address of a cluster's family.
func loopbackOf(c *lab.Cluster) netip.Addr {
	if c.Service.Addr().Is6() {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func checkLocalServer(t *testing.T, c *lab.Cluster, port uint16, option string, rip netip.AddrPort, clients ...string) {
	t.Helper()
	service := netip.AddrPortFrom(c.Service.Addr(), port)
	for _, network := range []string{"tcp", "udp"} {
		protocol := "-" + network[:1]
		configure(t, c, "-A", protocol, service.String(), "-s", "rr")
		configure(t, c, "-a", protocol, service.String(), "-r", rip.String(), option)
		at := rip
		if option != "-m" {
			at = service
		}
		returnAll(t, c, "director", network, at)
	}
	for _, client := range clients {
		exchangeMegabyte(t, c, client, netip.Addr{}, service)
	}
	checkConns(t, c, service, len(clients))
}

// From 127.0.0.1 a client reaches real servers on the director, and no other: none
// could answer it. The kernel drops what is for others, too.
func checkLoopbackClient(t *testing.T, c *lab.Cluster) {
	t.Helper()
	own, loopback, farther := addressToward(t, c, c.Servers[0].RIP), loopbackOf(c), c.Servers[0].RIP
	port := uint16(loopbackPort)
	for _, way := range []struct {
		option string
		rip    netip.Addr
	}{{"-m", own}, {"-m", loopback}, {"-g", own}, {"-m", farther}, {"-g", farther}, {"-i", farther}} {
		port++
		service, server := netip.AddrPortFrom(c.Service.Addr(), port), netip.AddrPortFrom(way.rip, port+1000)
		for _, protocol := range []string{"-t", "-u"} {
			configure(t, c, "-A", protocol, service.String(), "-s", "rr")
			configure(t, c, "-a", protocol, service.String(), "-r", server.String(), way.option)
		}
		if way.rip == farther {
			checkUnreached(t, c, "director", loopback, service, "loopback")
			continue
		}
		if way.option != "-m" {
			server = service
		}
		returnAll(t, c, "director", "tcp", server)
		returnAll(t, c, "director", "udp", server)
		exchangeMegabyte(t, c, "director", loopback, service)
		checkConns(t, c, service, 1)
	}
}

// checkUnreached wants a client to wait in vain, and its packets to have a verdict.
func checkUnreached(t *testing.T, c *lab.Cluster, node string, from netip.Addr, service netip.AddrPort, verdict string) {
	t.Helper()
	dialer := net.Dialer{Timeout: time.Second}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	before := packetsOf(t, c, verdict)
	err := c.Node(node).Do(func() error {
		conn, err := dialer.Dial("tcp", service.String())
		if err == nil {
			conn.Close()
		}
		return err
	})
	var failed net.Error
	if !errors.As(err, &failed) || !failed.Timeout() {
		t.Errorf("%s to %s: %v, want no answer", node, service, err)
	}
	if packetsOf(t, c, verdict) == before {
		t.Errorf("%s to %s: no packet is %s", node, service, verdict)
	}
}

// A NAT server on the director sends answers above the MTU, and has the client told
// that nobody listens: all from the VIP, to clients outside and on the director.
func checkLocalServerDatagrams(t *testing.T, c *lab.Cluster) {
	t.Helper()
	own, vip := addressToward(t, c, c.Servers[0].RIP), c.Service.Addr()
	answered, refused := netip.AddrPortFrom(vip, localDatagramPort), netip.AddrPortFrom(vip, localDatagramPort+1)
	listening, closed := netip.AddrPortFrom(own, 8090), netip.AddrPortFrom(own, 8091)
	for service, server := range map[netip.AddrPort]netip.AddrPort{answered: listening, refused: closed} {
		configure(t, c, "-A", "-u", service.String(), "-s", "rr")
		configure(t, c, "-a", "-u", service.String(), "-r", server.String(), "-m")
	}
	echo(t, c, "director", listening.String())
	for _, client := range []string{"client", "director"} {
		for _, size := range []int{100, 4000, 20000, 60000} {
			ask(t, c, client, answered.String(), bytes.Repeat([]byte{byte(size)}, size))
		}
		checkRefused(t, c, client, refused)
	}
}

// checkRefused wants a socket to hear that nobody listens on the other side.
func checkRefused(t *testing.T, c *lab.Cluster, node string, service netip.AddrPort) {
	t.Helper()
	socket := dialAs(t, c, node, "udp", netip.Addr{}, service)
	defer socket.Close()
	if _, err := socket.Write([]byte("who?")); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%s: %v, want it refused", node, err)
	}
}

// addressToward is the address from which the director speaks to a real server.
func addressToward(t *testing.T, c *lab.Cluster, rip netip.Addr) netip.Addr {
	t.Helper()
	return addressFrom(t, c, "director", rip)
}

// addressFrom is the address from which a node speaks to another.
func addressFrom(t *testing.T, c *lab.Cluster, node string, to netip.Addr) (own netip.Addr) {
	t.Helper()
	err := c.Node(node).Do(func() error {
		path, err := host.PathTo(to)
		own = path.Source
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// acceptVIP lets the director hear real servers that answer it from the VIP,
// which is its own address, too.
func acceptVIP(t *testing.T, c *lab.Cluster) {
	t.Helper()
	if c.Service.Addr().Is6() {
		return // which has no such check
	}
	if err := c.Node("director").Do(func() error { return host.InterfaceSysctl("all", "accept_local").Write(1) }); err != nil {
		t.Fatal(err)
	}
}

// returnAll sends back what comes to an address of a node.
func returnAll(t *testing.T, n nodes, node, network string, at netip.AddrPort) {
	t.Helper()
	var listener net.Listener
	if network == "udp" {
		answerWith(t, n, node, at)
		return
	}
	err := n.Node(node).Do(func() (err error) {
		listener, err = net.Listen(network, at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // the client misses what is not sent
			}()
		}
	}()
}

// exchangeMegabyte sends a megabyte by TCP from an address of a node, wants it
// back, and asks a question by UDP.
func exchangeMegabyte(t *testing.T, n nodes, node string, from netip.Addr, service netip.AddrPort) {
	t.Helper()
	conn := dialAs(t, n, node, "tcp", from, service)
	defer conn.Close()
	sent := make([]byte, megabyte)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() { _, _ = conn.Write(sent) }() // what is not sent does not come back
	got := make([]byte, len(sent))
	if size, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%s to %s: of %d bytes %d came back: %v", node, service, len(sent), size, err)
	}
	datagrams := dialAs(t, n, node, "udp", from, service)
	defer datagrams.Close()
	if _, err := datagrams.Write([]byte("who?")); err != nil {
		t.Fatal(err)
	}
	if _, err := datagrams.Read(got); err != nil {
		t.Errorf("%s to %s by UDP: %v", node, service, err)
	}
}

func dialAs(t *testing.T, n nodes, node, network string, from netip.Addr, service netip.AddrPort) (conn net.Conn) {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		if network == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
	}
	err := n.Node(node).Do(func() (err error) {
		conn, err = dialer.Dial(network, service.String())
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", node, err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}
