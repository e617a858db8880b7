// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pion/sctp"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/lab"
)

const (
	sctpPort       = 5000 // of pion's clients and what they connect to
	sctpServerPort = 3868 // where NAT maps it
	sctpMTU        = 1400 // leaves room for a tunnel's header in 1500 bytes
	sctpMessage    = 20_000
	sctpMessages   = 10
)

// noKernelSCTP asks for a kernel that leaves SCTP to raw sockets: it would abort
// associations that it does not know.
func noKernelSCTP() error {
	if _, err := os.Stat("/proc/net/sctp"); err == nil {
		return errors.New("needs a kernel that has not loaded its module sctp")
	}
	return nil
}

// checkSCTP wants an association with data both ways, its end by both sides, and
// every packet with the right sum.
func checkSCTP(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service := netip.AddrPortFrom(c.Service.Addr(), sctpPort)
	configure(t, c, "-A", "--sctp-service", service.String(), "-s", "rr")
	client := dialSCTP(t, c.Node("client"), netip.Addr{}, service.Addr())
	for _, s := range c.Servers {
		rip, local := netip.AddrPortFrom(s.RIP, sctpPort), service.Addr()
		if c.Method == lab.NAT {
			rip, local = netip.AddrPortFrom(s.RIP, sctpServerPort), s.RIP
		}
		configure(t, c, slices.Concat([]string{"-a", "--sctp-service", service.String(), "-r", rip.String(), optionOf[c.Method]}, c.Tunnel())...)
		echoSCTP(t, dialSCTP(t, c.Node(s.Name), local, client.address()))
	}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	association, err := sctp.ClientContext(ctx, sctp.WithNetConn(client), sctp.WithMTU(sctpMTU))
	if err != nil {
		t.Fatal(err)
	}
	exchangeSCTP(t, association)
	awaitSCTP(t, c, service, "ESTABLISHED")
	if err := association.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	awaitSCTP(t, c, service, "CLOSED")
}

// exchangeSCTP sends messages and wants each back before it sends the next: a raw
// socket that is full has its kernel say that it knows no such protocol.
func exchangeSCTP(t *testing.T, association *sctp.Association) {
	t.Helper()
	stream, err := association.OpenStream(1, sctp.PayloadTypeWebRTCBinary)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	dice := rand.NewChaCha8([32]byte{})
	sent, back := make([]byte, sctpMessage), make([]byte, sctpMessage)
	for i := range sctpMessages {
		_, _ = dice.Read(sent) // never fails
		if _, err := stream.Write(sent); err != nil {
			t.Fatal(err)
		}
		n, err := stream.Read(back)
		if err != nil || !bytes.Equal(back[:n], sent) {
			t.Fatalf("message %d of %d bytes: %d bytes came back, not the same or %v", i, len(sent), n, err)
		}
	}
}

// echoSCTP takes one association and says what it hears, on one stream.
func echoSCTP(t *testing.T, conn *sctpConn) {
	t.Helper()
	ended := make(chan error, 1)
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	go func() { ended <- serveSCTP(conn) }()
}

func serveSCTP(conn *sctpConn) error {
	association, err := sctp.ServerWithOptions(sctp.WithNetConn(conn), sctp.WithMTU(sctpMTU))
	if err != nil {
		return err
	}
	defer association.Close()
	stream, err := association.AcceptStream()
	if err != nil {
		return err
	}
	message := make([]byte, sctpMessage)
	for {
		n, err := stream.Read(message)
		if err != nil {
			return err
		}
		if _, err := stream.Write(message[:n]); err != nil {
			return err
		}
	}
}

// awaitSCTP wants the service's one connection to be listed in a state soon.
func awaitSCTP(t *testing.T, c *lab.Cluster, service netip.AddrPort, state string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		var listed []ipvs.Conn
		if err := json.Unmarshal([]byte(mustLvsx(t, c, "connections", "--vip", service.String(), "-o", "json")), &listed); err != nil {
			t.Fatal(err)
		}
		if len(listed) == 1 && listed[0].Protocol == ipvs.SCTP && listed[0].State == state {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connections are %+v, want one of SCTP in state %s", listed, state)
		}
	}
}

// sctpConn carries SCTP packets between two addresses, in a kernel that may know
// no SCTP. Neither may anybody else's packet come, nor one with a wrong sum.
type sctpConn struct {
	*net.IPConn
	t *testing.T
}

// dialSCTP returns a connection of a node, from the address that its routes
// choose if local is none.
func dialSCTP(t *testing.T, node *host.Namespace, local, remote netip.Addr) *sctpConn {
	t.Helper()
	var from *net.IPAddr
	if local.IsValid() {
		from = &net.IPAddr{IP: local.AsSlice()}
	}
	network := "ip4:132"
	if remote.Is6() {
		network = "ip6:132"
	}
	c := &sctpConn{t: t}
	err := node.Do(func() (err error) {
		c.IPConn, err = net.DialIP(network, from, &net.IPAddr{IP: remote.AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *sctpConn) address() netip.Addr {
	address, _ := netip.AddrFromSlice(c.LocalAddr().(*net.IPAddr).IP)
	return address.Unmap()
}

// Read returns a packet without its IP header, which ReadFrom alone takes off.
func (c *sctpConn) Read(packet []byte) (int, error) {
	n, _, err := c.ReadFrom(packet)
	if err != nil {
		return n, err
	}
	if err := checkSum(packet[:n]); err != nil {
		c.t.Errorf("%s: %v", c.LocalAddr(), err)
	}
	return n, nil
}

// checkSum tells a wrong CRC32c (RFC 9260, section 6.8). pion would drop such a
// packet, and the next copy of it might be right.
func checkSum(packet []byte) error {
	if len(packet) < 12 {
		return io.ErrUnexpectedEOF
	}
	zeroed := bytes.Clone(packet)
	clear(zeroed[8:12])
	sum := crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli))
	if got := binary.LittleEndian.Uint32(packet[8:]); got != sum {
		return fmt.Errorf("packet of %d bytes has the sum %#x, want %#x", len(packet), got, sum)
	}
	return nil
}
