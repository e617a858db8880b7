// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/lab"
)

// Datagrams go to one real server after the other, and answers come from the
// VIP.
func checkDatagrams(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service := netip.AddrPortFrom(c.Service.Addr(), 5353)
	configure(t, c, "-A", "-u", service.String(), "-s", "rr")
	for _, s := range c.Servers {
		rip := netip.AddrPortFrom(s.RIP, service.Port())
		configure(t, c, slices.Concat([]string{"-a", "-u", service.String(), "-r", rip.String(), optionOf[c.Method]}, c.Tunnel())...)
		listen := service
		if c.Method == lab.NAT {
			listen = rip
		}
		answerWith(t, c, s.Name, listen)
	}
	got := make(map[string]int)
	for range 30 {
		got[question(t, c, service)]++
	}
	if diff := cmp.Diff(map[string]int{"rs1": 10, "rs2": 10, "rs3": 10}, got); diff != "" {
		t.Errorf("answers per real server (-want +got):\n%s", diff)
	}
}

func configure(t *testing.T, n nodes, args ...string) {
	t.Helper()
	if _, err := n.Lvsx("director", append([]string{"ipvsadm"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// answerWith answers each datagram with the node's name.
func answerWith(t *testing.T, n nodes, node string, address netip.AddrPort) {
	t.Helper()
	var socket *net.UDPConn
	err := n.Node(node).Do(func() (err error) {
		socket, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			_, from, err := socket.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if _, err := socket.WriteToUDPAddrPort([]byte(node), from); err != nil {
				return
			}
		}
	}()
}

// question asks from a socket that hears the VIP alone, and keeps its port.
func question(t *testing.T, c *lab.Cluster, service netip.AddrPort) string {
	t.Helper()
	var socket *net.UDPConn
	err := c.Node("client").Do(func() (err error) {
		socket, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(service))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	if _, err := socket.Write([]byte("who?")); err != nil {
		t.Fatal(err)
	}
	n, err := socket.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}
