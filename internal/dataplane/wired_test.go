// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// wired is a director between two real links with clients on the one and real
// servers on the other, as in the recordings.
type wired struct {
	bench
	sides map[string]side
}

type side struct {
	link host.Link // the director's end
	conn *packet.Conn
	from net.HardwareAddr // who sends here
}

// What the kernel's IPVS sent, sent by the programs that are attached, in packets
// that the kernel carries from link to link. The kernel's own answers are left
// out: it has no addresses here.
func TestPacketRecordingsOnLinks(t *testing.T) {
	testenv.Need(t, testenv.TCX)
	for mode, mtu := range map[Mode]int{Generic: 9000, Native: 3400} { // native veth takes no more
		t.Run(string(mode), func(t *testing.T) {
			w := newWired(t, mode, mtu)
			for _, r := range recordings(t, "packets") {
				if mode == Generic && strings.Contains(r.Name, "csum") {
					continue // no checksums of tunnels there: docs/ipvsadm.md
				}
				w.replay(t, mode, mtu, r)
			}
		})
	}
}

func newWired(t *testing.T, mode Mode, mtu int) *wired {
	t.Helper()
	enterNamespace(t)
	d, err := Open(Config{Connections: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	w := &wired{bench: bench{t: t, Dataplane: d, memory: plentiful}, sides: make(map[string]side)}
	for name, from := range map[string]net.HardwareAddr{"client": clientMAC, "server": serverMAC(11)} {
		s := side{from: from}
		var peer host.Link
		s.link, peer = addLink(t, "to-"+name, name)
		for _, l := range []host.Link{s.link, peer} {
			if name == "client" {
				if err := host.SetMTU(l.Name, mtu); err != nil {
					t.Fatal(err)
				}
			}
		}
		accept := host.AcceptFrames // what native XDP redirects
		if mode == Generic {
			accept = func(string) error { return host.SetReceiveOffload(s.link.Name, true) }
		}
		if err := accept(peer.Name); err != nil {
			t.Fatal(err)
		}
		if err := d.Attach(s.link.Index, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Detach(s.link.Index) })
		s.conn = listen(t, peer)
		if err := s.conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.sides[name] = s
	}
	return w
}

// begin empties the table, and lets the links send.
func (w *wired) begin(t *testing.T, mode Mode, mtu int) {
	t.Helper()
	w.reset(t)
	var links []Interface
	for name, s := range w.sides {
		i := Interface{Index: s.link.Index, MAC: s.link.MAC, MTU: 1500, Mode: mode}
		if name == "client" {
			i.MTU = mtu
		}
		links = append(links, i)
	}
	if err := w.SetInterfaces(links); err != nil {
		t.Fatal(err)
	}
}

// replay plays a recording with an empty table.
func (w *wired) replay(t *testing.T, mode Mode, mtu int, r recording) {
	t.Helper()
	w.begin(t, mode, mtu)
	w.apply(r.Setup...)
	w.wire()
	for _, s := range w.sides {
		drain(s.conn)
	}
	for _, e := range r.Exchanges {
		if e.In == nil {
			w.tell(e)
			w.wire()
			continue
		}
		in := unhex(t, e.In.Hex)
		if _, ok := isNotBuilt(r.Name, e.Label); ok || len(in) > mtu {
			return // what follows may build on it
		}
		w.put(t, w.sides[e.In.Side], in)
		if len(e.Out) == 0 || e.isKernels(t, in) {
			continue
		}
		if wrong := w.expect(t, e); wrong != "" {
			t.Errorf("%s: %s: %s", r.Name, e.Label, wrong)
			return
		}
	}
}

// wire tells the ways to real servers, on the link where they are.
func (w *wired) wire() {
	link := w.sides["server"].link
	for _, rip := range w.RealServers() {
		hop := hopTo(rip)
		if !hop.Local {
			hop.Interface, hop.Source = link.Index, link.MAC
		}
		w.SetNextHop(rip, hop)
	}
}

func (w *wired) put(t *testing.T, s side, ip []byte) {
	t.Helper()
	f := frame(s.from, ip)
	copy(f, s.link.MAC)
	if _, err := s.conn.WriteTo(f, &packet.Addr{HardwareAddr: s.link.MAC}); err != nil {
		t.Fatal(err)
	}
}

// expect waits for what was recorded and says what else came.
func (w *wired) expect(t *testing.T, e exchange) string {
	t.Helper()
	for i, out := range e.Out {
		got, err := next(w.sides[out.Side].conn, 10*time.Second)
		if err != nil {
			return fmt.Sprintf("packet %d to the %s: %v", i, out.Side, err)
		}
		if to := net.HardwareAddr(got[:6]).String(); to != out.DstMAC {
			return fmt.Sprintf("sent to %s, want %s: %x", to, out.DstMAC, got[14:])
		}
		if wrong := e.compare(t, i, withoutPadding(got[14:])); wrong != "" {

			return wrong
		}
	}
	return ""
}

// drain throws away what has come.
func drain(conn *packet.Conn) {
	for {
		if _, err := next(conn, 5*time.Millisecond); err != nil {
			return
		}
	}
}

// next returns the next frame that is not the kernel's own talk with its
// neighbours.
func next(conn *packet.Conn, patience time.Duration) ([]byte, error) {
	buffer := make([]byte, 1<<16)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return nil, err
		}
		ip := buffer[14:n]
		isIPv4 := buffer[12] == 0x08 && buffer[13] == 0
		linkLocal := !isIPv4 && (n < 14+40 || netip.AddrFrom16([16]byte(ip[8:24])).IsLinkLocalUnicast() || bytes.Equal(ip[8:24], make([]byte, 16)))
		if isIPv4 || buffer[12] == 0x86 && !linkLocal {
			return slices.Clone(buffer[:n]), nil
		}
	}
}

func withoutPadding(ip []byte) []byte {
	length := int(ip[2])<<8 | int(ip[3])
	if ip[0]>>4 == 6 {
		length = 40 + (int(ip[4])<<8 | int(ip[5]))
	}
	return ip[:min(length, len(ip))]
}
