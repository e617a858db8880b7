// SPDX-License-Identifier: Apache-2.0

package realserver_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/realserver"
	"github.com/lvsx/lvsx/internal/testenv"
)

func dr() realserver.Request {
	return realserver.Request{Method: realserver.DR, VIPs: []netip.Addr{vip}}
}

func tun() realserver.Request {
	return realserver.Request{Method: realserver.TUN, VIPs: []netip.Addr{vip}, Directors: []netip.Addr{director}}
}

func (s stage) up(t *testing.T, r realserver.Request) (result realserver.Result) {
	t.Helper()
	check(t, s.server.Do(func() (err error) { result, err = realserver.Up(r); return err }))
	t.Cleanup(func() { s.down(t) })
	return result
}

func (s stage) down(t *testing.T) {
	t.Helper()
	check(t, s.server.Do(func() error { _, err := realserver.Down(realserver.Request{}); return err }))
}

func (s stage) look(t *testing.T, r realserver.Request) (status realserver.Status) {
	t.Helper()
	check(t, s.server.Do(func() (err error) { status, err = realserver.Look(r); return err }))
	return status
}

// snapshot returns all that Up may change.
func (s stage) snapshot(t *testing.T) map[string]string {
	t.Helper()
	values := make(map[string]string)
	check(t, s.server.Do(func() error {
		settings, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/*")
		if err != nil {
			return err
		}
		for _, name := range settings {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			values[name] = string(text)
		}
		links, err := host.Links()
		for _, l := range links {
			addresses, err := host.Addresses(l.Name)
			if err != nil {
				return err
			}
			for _, a := range addresses {
				if a.Addr().Is4() { // link-local IPv6 addresses come when they like
					values[l.Name+" "+a.String()] = string(l.XDP)
				}
			}
		}
		return err
	}))
	return values
}

func (s stage) sysctl(t *testing.T, link, setting string, value int) {
	t.Helper()
	check(t, s.server.Do(func() error { return host.InterfaceSysctl(link, setting).Write(value) }))
}

func TestNeighboursLearnNothingOfTheVIP(t *testing.T) {
	s := newStage(t)
	conn := listenFrames(t, s.director, unix.ETH_P_ARP)

	// A machine that was not prepared answers.
	check(t, s.server.Do(func() error { return configure("lo", "192.0.2.1/32") }))
	ask(t, conn, vip)
	if reply := nextARP(t, conn, layers.ARPReply); netip.AddrFrom4([4]byte(reply.SourceProtAddress)) != vip {
		t.Fatalf("unprepared machine answers for %v, want %s", reply.SourceProtAddress, vip)
	}
	check(t, s.server.Do(func() error {
		_, err := host.DeleteAddress("lo", netip.PrefixFrom(vip, 32))
		return err
	}))

	s.up(t, dr())
	ask(t, conn, vip)
	ask(t, conn, rip)
	if reply := nextARP(t, conn, layers.ARPReply); netip.AddrFrom4([4]byte(reply.SourceProtAddress)) != rip {
		t.Errorf("prepared machine answers for %v before %s", reply.SourceProtAddress, rip)
	}

	// It asks for a neighbour in its own name, even for a packet from the VIP.
	server := s.listen(t)
	if _, err := server.WriteToUDPAddrPort([]byte("?"), netip.MustParseAddrPort("10.0.0.77:9")); err != nil {
		t.Fatal(err)
	}
	for {
		request := nextARP(t, conn, layers.ARPRequest)
		if netip.AddrFrom4([4]byte(request.DstProtAddress)) != netip.MustParseAddr("10.0.0.77") {
			continue
		}
		if sender := netip.AddrFrom4([4]byte(request.SourceProtAddress)); sender != rip {
			t.Errorf("ARP request names %s, want %s", sender, rip)
		}
		break
	}
}

// A client whose replies leave by another link passes though the machine
// checked sources strictly before.
func TestDRServesWithReversePathFilter(t *testing.T) {
	s := newStage(t)
	s.sysctl(t, "all", "rp_filter", 1)
	s.up(t, dr())
	check(t, s.director.Do(func() error { return host.AddRoute(netip.PrefixFrom(vip, 32), rip, "") }))
	server := s.listen(t)
	s.send(t, datagram("GET /")...)
	text, from := receive(t, server)
	if text != "GET /" || from.Addr() != client {
		t.Errorf("server got %q from %s", text, from)
	}
}

func TestTUNServesDirectorsOnly(t *testing.T) {
	s := newStage(t)
	s.sysctl(t, "eth0", "rp_filter", 1)
	s.up(t, tun())
	server := s.listen(t)
	replies := listenFrames(t, s.outlet, unix.ETH_P_IP)

	s.send(t, tunnel(netip.MustParseAddr("10.0.0.3"), "stranger")...)
	s.send(t, append(tunnel(director, "")[:1], tunnel(director, "nested")...)...)
	s.send(t, tunnel(director, "GET /")...)
	text, from := receive(t, server)
	if text != "GET /" || from.Addr() != client {
		t.Errorf("server got %q from %s", text, from)
	}
	got := make(map[string]uint64)
	for _, count := range s.look(t, realserver.Request{}).Counts {
		if count.Packets > 0 && count.Verdict != "not-tunnel" {
			got[count.Verdict] = count.Packets
		}
	}
	if diff := cmp.Diff(map[string]uint64{"untrusted": 1, "nested": 1, "unwrapped": 1}, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}

	// The reply goes straight to the client, not back through the director.
	if _, err := server.WriteToUDPAddrPort([]byte("200 OK"), from); err != nil {
		t.Fatal(err)
	}
	if !nextIPv4(t, replies, vip, client) {
		t.Error("no reply went by the outlet")
	}
}

func TestTUNTakesGREAndGUEApart(t *testing.T) {
	s := newStage(t)
	request := tun()
	request.Tunnels = []decap.Tunnel{{Type: ipvs.GRE}, {Type: ipvs.GUE, Port: 6080}}
	s.up(t, request)
	if status := s.look(t, realserver.Request{}); !status.OK() {
		t.Errorf("status: %+v", status.Checks)
	}
	server := s.listen(t)
	gue := gopacket.Payload{0, 4, 0, 0} // variant 0, IPv4 inside
	headers := map[string][]gopacket.SerializableLayer{
		"GRE": {ip(director, rip, layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}},
		"GRE with checksum": {
			ip(director, rip, layers.IPProtocolGRE),
			&layers.GRE{Protocol: layers.EthernetTypeIPv4, ChecksumPresent: true},
		},
		"GUE": {ip(director, rip, layers.IPProtocolUDP), udp(director, rip, 40000, 6080), gue},
	}
	for name, header := range headers {
		s.send(t, append(header, datagram(name)...)...)
		if text, from := receive(t, server); text != name || from.Addr() != client {
			t.Errorf("server got %q from %s, want %q", text, from, name)
		}
	}
}

func TestDownRestores(t *testing.T) {
	s := newStage(t)
	s.sysctl(t, "all", "rp_filter", 1)
	s.sysctl(t, "eth0", "arp_announce", 1)
	s.sysctl(t, "eth1", "arp_ignore", 2)
	before := s.snapshot(t)
	for _, request := range []realserver.Request{dr(), tun()} {
		if result := s.up(t, request); len(result.Made) == 0 {
			t.Errorf("%s: up made nothing", request.Method)
		}
		if status := s.look(t, request); !status.OK() {
			t.Errorf("%s: status after up: %+v", request.Method, status.Checks)
		}
		if result := s.up(t, request); len(result.Made)+len(result.Undone) > 0 {
			t.Errorf("%s: second up changed %+v", request.Method, result)
		}
		s.down(t)
		s.down(t)
		if diff := cmp.Diff(before, s.snapshot(t)); diff != "" {
			t.Errorf("%s: after down (-before +after):\n%s", request.Method, diff)
		}
		if status := s.look(t, request); status.OK() {
			t.Errorf("%s: status after down is fine", request.Method)
		}
	}
}

// What was prepared by hand, as the LVS HOWTO has it, is recognised, and stays
// when we go.
func TestPreparedByHand(t *testing.T) {
	s := newStage(t)
	testenv.Need(t, testenv.Program("ip"))
	byHand := `
		ip address add 192.0.2.1/32 dev lo label lo:0
		ip route add 192.0.2.1/32 dev lo
		echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore
		echo 2 > /proc/sys/net/ipv4/conf/lo/arp_announce
		echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
		echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce`
	if out, err := s.server.Command("/bin/sh", "-ec", byHand).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := s.snapshot(t)
	if status := s.look(t, dr()); !status.OK() {
		t.Errorf("status: %+v", status.Checks)
	}
	if result := s.up(t, dr()); len(result.Made) > 0 {
		t.Errorf("up made %v", result.Made)
	}
	s.down(t)
	if diff := cmp.Diff(before, s.snapshot(t)); diff != "" {
		t.Errorf("after down (-before +after):\n%s", diff)
	}
}

func TestUpRefuses(t *testing.T) {
	s := newStage(t)
	check(t, s.server.Do(func() error { return configure("eth1", "192.0.2.9/32") }))
	before := s.snapshot(t)
	for _, test := range []struct {
		name    string
		request realserver.Request
		err     string
	}{
		{name: "no VIP", request: realserver.Request{Method: realserver.DR}, err: "no VIP given"},
		{name: "VIP on a link that answers", request: realserver.Request{Method: realserver.DR, VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}, err: "is on eth1"},
		{name: "multicast", request: realserver.Request{Method: realserver.DR, VIPs: []netip.Addr{netip.MustParseAddr("224.0.0.18")}}, err: "not an address that clients can connect to"},
		{name: "no such interface", request: realserver.Request{Method: realserver.DR, VIPs: []netip.Addr{vip}, Interface: "eth7"}, err: "no such interface"},
		{name: "tunnel from anybody", request: realserver.Request{Method: realserver.TUN, VIPs: []netip.Addr{vip}}, err: "add --director"},
		{name: "own director", request: realserver.Request{Method: realserver.TUN, VIPs: []netip.Addr{vip}, Directors: []netip.Addr{rip}}, err: "this machine's own address"},
		{name: "NAT past the director", request: realserver.Request{Method: realserver.NAT, Directors: []netip.Addr{netip.MustParseAddr("10.0.0.8")}}, err: "run: ip route replace default via 10.0.0.8 dev eth0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := s.server.Do(func() error { _, err := realserver.Up(test.request); return err })
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error is %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(before, s.snapshot(t)); diff != "" {
				t.Errorf("changed all the same (-before +after):\n%s", diff)
			}
		})
	}
	check(t, s.server.Do(func() error {
		_, err := realserver.Up(realserver.Request{Method: realserver.NAT, Directors: []netip.Addr{director}})
		return err
	}))
}

// A setting that overrules ours makes up fail late: what was made is undone.
func TestUpRollsBack(t *testing.T) {
	s := newStage(t)
	s.sysctl(t, "all", "arp_ignore", 3)
	before := s.snapshot(t)
	err := s.server.Do(func() error { _, err := realserver.Up(dr()); return err })
	if err == nil || !strings.Contains(err.Error(), "sysctl -w net.ipv4.conf.all.arp_ignore=0") {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff(before, s.snapshot(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
	if status := s.look(t, realserver.Request{}); len(status.Wants) > 0 {
		t.Errorf("still wanted: %v", status.Wants)
	}
}

// With one way to everywhere, strict checking of sources is left as it is.
func TestStrictSourceCheckStaysWhereItDoesNoHarm(t *testing.T) {
	s := newStage(t)
	check(t, s.server.Do(func() error { return host.DeleteLink("eth1") }))
	s.sysctl(t, "eth0", "rp_filter", 1)
	for _, step := range s.up(t, dr()).Made {
		if step.Setting == "rp_filter" {
			t.Errorf("up made %s", step)
		}
	}
	check(t, s.director.Do(func() error { return host.AddRoute(netip.PrefixFrom(vip, 32), rip, "") }))
	server := s.listen(t)
	s.send(t, datagram("GET /")...)
	if text, _ := receive(t, server); text != "GET /" {
		t.Errorf("server got %q", text)
	}
}

func TestStateOfAGoneNamespaceIsForgotten(t *testing.T) {
	s := newStage(t)
	s.up(t, dr())
	check(t, s.server.Do(func() error {
		dir, err := host.StateDir()
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "realserver.json")
		text, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(text), `"namespace": `, `"namespace": 9`, 1)), 0o600))
	}))
	if status := s.look(t, realserver.Request{}); len(status.Wants) > 0 {
		t.Errorf("wants of another namespace: %v", status.Wants)
	}
}
