// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

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
