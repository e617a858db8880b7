// SPDX-License-Identifier: Apache-2.0

//go:build guest

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// segments is a network whose director has one port to all others: VIP and real
// servers are each on a VLAN of it, or on none. The switch is their router, too.
//
//	+--------+ 198.51.100.2   +--------+      VLAN 10         192.0.2.2 +----------+
//	| client |----------------| switch |==    VLAN 20         10.0.20.2 | director |
//	+--------+                |        |==    QinQ 100, 30    10.0.30.2 |          |
//	+-----+ 10.0.20.11        |        |==    no VLAN         10.0.0.2  |   VIP    |
//	| rs1 |-------------------|        |====================== port ===|          |
//	+-----+                   +--------+                                +----------+
//	  rs2 10.0.30.11, rs3 10.0.0.11
//
// Each address has one of IPv6 beside it, with the same last number. The switch is .1.
type segments struct {
	t    *testing.T
	port string // the director's: eth0, or a bond
	made map[string]*host.Namespace
}

// segment is where one of the real servers is.
type segment struct{ server, ipv4, ipv6, tags string }

var behindSwitch = []segment{
	{"rs1", "10.0.20.", "fd00:20::", ".20"},
	{"rs2", "10.0.30.", "fd00:30::", ".100.30"},
	{"rs3", "10.0.0.", "fd00::", ""},
}

// families are the numbers of IP's versions, as `ip` has them.
var families = []string{"4", "6"}

// vipOf and director's addresses are on VLAN 10.
var vipOf = map[string]netip.Addr{"4": netip.MustParseAddr("192.0.2.80"), "6": netip.MustParseAddr("2001:db8:1::80")}

func (s segment) network(family string) string {
	return map[string]string{"4": s.ipv4, "6": s.ipv6}[family]
}

func (s segment) rip(family string) netip.Addr {
	return netip.MustParseAddr(s.network(family) + "11")
}

// Node returns a namespace by its name.
func (n *segments) Node(name string) *host.Namespace { return n.made[name] }

// Lvsx runs lvsx in a node and returns what it says.
func (n *segments) Lvsx(node string, args ...string) (string, error) {
	out, err := n.Node(node).Command(program(n.t, "lvsx"), args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: lvsx %s: %w\n%s", node, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// sh runs a script in a node.
func (n *segments) sh(node, script string) {
	n.t.Helper()
	out, err := n.Node(node).Command("/bin/sh", "-ec", script).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v\n%s\nof\n%s", node, err, out, script)
	}
}

// newSegments makes the network. A bond of that mode is the director's port; without
// a mode it is a plain one.
func newSegments(t *testing.T, bond string) *segments {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.Program("ip"), testenv.Program("ethtool"), linkKind("vlan", "id 1"))
	n := &segments{t: t, port: "eth0", made: make(map[string]*host.Namespace)}
	for _, name := range []string{"client", "switch", "director", "rs1", "rs2", "rs3"} {
		n.made[name] = testenv.Namespace(t, name)
		n.sh(name, `
			for link in all default; do
				echo 0 >/proc/sys/net/ipv4/conf/$link/rp_filter
				echo 0 >/proc/sys/net/ipv6/conf/$link/accept_dad
			done`)
	}
	for _, name := range []string{"client", "rs1", "rs2", "rs3"} {
		n.connect(name, "eth0", name)
	}
	n.connect("director", "eth0", "port0")
	if bond != "" {
		testenv.Need(t, linkKind("bond", ""))
		n.port = "bond0"
		n.connect("director", "eth1", "port1")
	}
	n.makeSwitch(bond)
	n.makeDirector(bond)
	n.makeEnds()
	return n
}

// connect lays a cable to the switch. There tags are left in frames, as on a wire:
// a veth would hand them over beside the frame, where XDP in the driver does not see
// them. And all redirected frames are taken, with two tags, too.
func (n *segments) connect(node, link, port string) {
	n.t.Helper()
	err := host.AddVeth(host.VethEnd{Namespace: n.Node(node), Name: link}, host.VethEnd{Namespace: n.Node("switch"), Name: port})
	if err != nil {
		n.t.Fatal(err)
	}
	if node != "director" {
		err = n.Node(node).Do(func() error { return host.DisableTransmitOffload(link) })
	} else {
		n.sh("switch", "ethtool -K "+port+" txvlan off tx-vlan-stag-hw-insert off; ip link set "+port+" mtu 1504")
		err = n.Node("switch").Do(func() error { return host.AcceptFrames(port) })
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// makeSwitch has a bridge for each segment. What is on none is the bridge of the
// director's port, on which the VLANs are.
func (n *segments) makeSwitch(bond string) {
	n.t.Helper()
	toDirector := "ip link set port0 master trunk up"
	switch {
	case bond == "active-backup": // one link at a time: nothing for a switch to know
		toDirector += "; ip link set port1 master trunk up"
	case bond != "":
		toDirector = "ip link add both type bond miimon 100 mode " + bond + `
			for port in port0 port1; do ip link set $port master both; done
			ip link set both master trunk up`
	}
	n.sh("switch", `
		ip link add trunk type bridge
		ip link add link trunk trunk.10 type vlan id 10
		ip link add link trunk trunk.20 type vlan id 20
		ip link add link trunk trunk.100 type vlan protocol 802.1ad id 100
		ip link add link trunk.100 trunk.100.30 type vlan id 30
		for vlan in 20 100.30; do
			ip link add bridge.$vlan type bridge
			ip link set trunk.$vlan master bridge.$vlan
		done
		ip link set rs1 master bridge.20
		ip link set rs2 master bridge.100.30
		ip link set rs3 master trunk
		`+toDirector+`
		for link in client rs1 rs2 rs3 trunk trunk.10 trunk.20 trunk.100 trunk.100.30 bridge.20 bridge.100.30; do
			ip link set $link up
		done
		ip address add 198.51.100.1/24 dev client
		ip address add 2001:db8:3::1/64 dev client
		ip address add 192.0.2.1/24 dev trunk.10
		ip address add 2001:db8:1::1/64 dev trunk.10
		ip address add 10.0.20.1/24 dev bridge.20
		ip address add fd00:20::1/64 dev bridge.20
		ip address add 10.0.30.1/24 dev bridge.100.30
		ip address add fd00:30::1/64 dev bridge.100.30
		ip address add 10.0.0.1/24 dev trunk
		ip address add fd00::1/64 dev trunk
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding`)
}

func (n *segments) makeDirector(bond string) {
	n.t.Helper()
	if bond != "" {
		n.sh("director", `
			ip link add bond0 type bond miimon 100 mode `+bond+`
			for link in eth0 eth1; do ip link set $link master bond0; done`)
	}
	n.sh("director", `
		port=`+n.port+`
		ip link add link $port $port.10 type vlan id 10
		ip link add link $port $port.20 type vlan id 20
		ip link add link $port $port.100 type vlan protocol 802.1ad id 100
		ip link add link $port.100 $port.100.30 type vlan id 30
		for link in $port $port.10 $port.20 $port.100 $port.100.30; do ip link set $link up; done
		ip address add 192.0.2.2/24 dev $port.10
		ip address add 2001:db8:1::2/64 dev $port.10
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		ip -4 route add default via 192.0.2.1
		ip -6 route add default via 2001:db8:1::1`)
	for _, s := range behindSwitch {
		n.sh("director", fmt.Sprintf("for address in %s2/24 %s2/64; do ip address add $address dev %s; done", s.ipv4, s.ipv6, n.port+s.tags))
	}
}

// makeEnds gives the real servers the VIPs, and has them send what is from them the
// short way, but what is from their own addresses, of NAT, to the director. Frames
// of NAT with two tags must not be larger than the director's port takes.
func (n *segments) makeEnds() {
	n.t.Helper()
	n.sh("client", `
		ip link set eth0 up
		ip address add 198.51.100.2/24 dev eth0
		ip address add 2001:db8:3::2/64 dev eth0
		ip -4 route add default via 198.51.100.1
		ip -6 route add default via 2001:db8:3::1`)
	for _, s := range behindSwitch {
		args := strings.Fields("realserver up --method tun --vip 192.0.2.80 --vip 2001:db8:1::80")
		n.sh(s.server, "ip link set eth0 up")
		for _, family := range families {
			network := s.network(family)
			args = append(args, "--director", network+"2")
			n.sh(s.server, strings.NewReplacer("NETWORK", network, "FAMILY", family, "BITS", map[string]string{"4": "24", "6": "64"}[family]).Replace(`
				ip -FAMILY address add NETWORK11/BITS dev eth0
				ip -FAMILY route add default via NETWORK1
				ip -FAMILY rule add from NETWORK11 table 100
				ip -FAMILY route add NETWORK0/BITS dev eth0 table 100
				ip -FAMILY route add default via NETWORK2 mtu 1496 table 100`))
		}
		if _, err := n.Lvsx(s.server, args...); err != nil {
			n.t.Fatal(err)
		}
	}
}

// direct starts the director and gives it the VIPs.
func (n *segments) direct(xdp string) {
	n.t.Helper()
	runDirector(n.t, n.Node("director"), "--interface", n.port, "--xdp", xdp)
	for _, vip := range vipOf {
		prefix := netip.PrefixFrom(vip, vip.BitLen()).String()
		mustLvsx(n.t, n, "vip", "add", prefix, "--interface", n.port+".10")
	}
}

// linkKind asks for a kernel that has links of a kind.
func linkKind(kind, options string) testenv.Requirement {
	return func() error {
		n, err := host.NewNamespace(fmt.Sprintf("lvsx-test-%d-kind", os.Getpid()))
		if err != nil {
			return err
		}
		defer func() { _ = host.Remove([]*host.Namespace{n}, time.Second) }() // nothing runs in it
		script := "ip link add on type veth peer name to && ip link add link on new type " + kind + " " + options
		if out, err := n.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
			return errors.New("needs a kernel with links of type " + kind + ": " + strings.TrimSpace(string(out)))
		}
		return nil
	}
}
