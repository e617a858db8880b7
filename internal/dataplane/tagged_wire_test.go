// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
)

// tagSocket sends and receives whole frames, of which the kernel takes the outer
// tag off and tells it apart.
type tagSocket struct {
	t  *testing.T
	fd int
}

func openTagSocket(t *testing.T, l host.Link) *tagSocket {
	t.Helper()
	const ignoreOutgoing = 23                                    // PACKET_IGNORE_OUTGOING
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // as on the wire
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, ignoreOutgoing, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return &tagSocket{t: t, fd: fd}
}

func (s *tagSocket) send(frame []byte) {
	s.t.Helper()
	if _, err := unix.Write(s.fd, frame); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next frame to a MAC address, with all tags.
func (s *tagSocket) next(to net.HardwareAddr) []byte {
	s.t.Helper()
	frame, control := make([]byte, 4096), make([]byte, 64)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		n, c, _, _, err := unix.Recvmsg(s.fd, frame, control, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if n >= 14 && bytes.Equal(frame[:6], to) {
			return slices.Insert(slices.Clone(frame[:n]), 12, outerTag(s.t, control[:c])...)
		}
	}
	s.t.Fatalf("nothing came to %s", to)
	return nil
}

// outerTag reads struct tpacket_auxdata.
func outerTag(t *testing.T, control []byte) []byte {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Header.Type != unix.PACKET_AUXDATA || binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
		return binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
	}
	return nil
}

// Clients on one VLAN of a port, real servers on others, with the program in the
// port's driver. The port's kernel needs no VLANs for that.
func TestTaggedOnLinks(t *testing.T) {
	b, port, switched := trunkLink(t)
	for i, test := range []struct{ name, rip, client, server string }{
		{"other VLAN", "192.168.1.11", "8100000a", "81000014"},
		{"two tags", "192.168.1.12", "8100000a", "88a800648100001e"},
		{"from two tags", "192.168.1.11", "88a800648100001e", "81000014"},
		{"to no tag", "192.168.1.13", "8100000a", untagged},
		{"from no tag", "192.168.1.11", untagged, "81000014"},
	} {
		rip, from := netip.MustParseAddrPort(test.rip+":80"), netip.AddrPortFrom(client.Addr(), uint16(2000+i))
		mac := serverMAC(numberOf(rip.Addr()))
		b.serve(rip, port)
		syn := frame(clientMAC, tcp(from, vip, "S", make([]byte, 1400)...))
		copy(syn, port.MAC)
		switched.send(tagged(t, syn, test.client))
		packet := checkFrame(t, xdpTX, switched.next(mac), mac, test.server)
		if got := netip.AddrFrom4([4]byte(packet[2+16:])); got != rip.Addr() {
			t.Errorf("%s: sent to %s, want %s", test.name, got, rip.Addr())
		}
		back := frame(mac, tcp(rip, from, "SA"))
		copy(back, port.MAC)
		switched.send(tagged(t, back, test.server))
		packet = checkFrame(t, xdpTX, switched.next(clientMAC), clientMAC, test.client)
		if got := netip.AddrFrom4([4]byte(packet[2+12:])); got != vip.Addr() {
			t.Errorf("%s: from %s, want %s", test.name, got, vip.Addr())
		}
		if got := hex.EncodeToString(packet[:2]); got != untagged {
			t.Errorf("%s: type %s behind the tags, want %s", test.name, got, untagged)
		}
	}
}

// trunkLink is a director with VLANs on a port, and who else is on them.
func trunkLink(t *testing.T) (b bench, port host.Link, switched *tagSocket) {
	t.Helper()
	enterNamespace(t)
	d, err := Open(Config{Connections: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	port, peer := addLink(t, "port", "switch")
	if err := host.AcceptFrames(peer.Name); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(port.Index, Native); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Detach(port.Index) })
	if err := d.SetInterfaces(standIns.on(port.Index, port.MAC)); err != nil {
		t.Fatal(err)
	}
	return bench{t: t, Dataplane: d}, port, openTagSocket(t, peer)
}

// serve makes one real server the only one, by the VLAN that it is on.
func (b *bench) serve(rip netip.AddrPort, port host.Link) {
	b.t.Helper()
	for _, line := range []string{"-C", "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r " + rip.String() + " -m"} {
		if out := b.ipvsadm(line); out != "" {
			b.t.Fatal(out)
		}
	}
	hop := hopTo(rip.Addr())
	hop.Interface, hop.Source = standIns.to(rip.Addr(), port.Index), port.MAC
	b.SetNextHop(rip.Addr(), hop)
}
