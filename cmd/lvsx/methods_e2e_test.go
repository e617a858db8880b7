// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// optionOf is ipvsadm's option for a method.
var optionOf = map[lab.Method]string{lab.NAT: "-m", lab.TUN: "-i", lab.DR: "-g"}

// A story is something that a cluster does, on ports of its own or so that the
// next one is not disturbed.
type story struct {
	name  string
	check func(*testing.T, *lab.Cluster)
	needs []testenv.Requirement
}

var (
	tcx    = []testenv.Requirement{testenv.TCX}
	noSCTP = []testenv.Requirement{noKernelSCTP}
)

// ofAll are stories of all methods. The balance comes first: a request from a port
// that others had before may find their connection.
var ofAll = []story{
	{"balance", checkBalance, nil},
	{"transfer outlives director", checkTransferOutlives, nil},
	{"no packet is lost", checkNoPacketIsLost, nil},
	{"bulk", checkMuch, nil},
	{"datagrams", checkDatagrams, nil},
	{"fragments", checkFragments, nil},
	{"sctp", checkSCTP, noSCTP},
	{"kill idle", checkKillIdle, nil},
	{"removed is told", checkRemovedIsTold, nil},
	{"local client", checkLocalClient, tcx},
}

// ofNAT are stories of real servers on the director, which NAT alone reaches at
// addresses and ports of their own.
var ofNAT = []story{
	{"local servers", checkLocalServers, tcx},
	{"local datagrams", checkLocalServerDatagrams, tcx},
	{"loopback client", checkLoopbackClient, tcx},
}

// ofShared are stories of real servers that have the VIP, too.
var ofShared = []story{
	{"client of itself", checkClientOfItself, nil},
}

// tell has a cluster do one after the other.
func tell(t *testing.T, c *lab.Cluster, stories ...story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			testenv.Need(t, s.needs...)
			s.check(t, c)
		})
	}
}

// Each method does it all, in both families, with generic and native XDP. To load a
// director takes longer than most of it, so that all is done in one cluster.
func TestMethods(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, xdp := range []host.XDPMode{host.GenericXDP, host.NativeXDP} {
		for _, method := range []lab.Method{lab.NAT, lab.TUN, lab.DR} {
			for _, family := range []int{4, 6} {
				t.Run(fmt.Sprintf("%s%d/%s", method, family, xdp), func(t *testing.T) {
					c := newCluster(t, method, lab.Options{XDP: string(xdp), Family: family})
					stories := ofShared
					if method == lab.NAT {
						stories = ofNAT
					}
					checkAttached(t, c, xdp)
					tell(t, c, slices.Concat(ofAll, stories)...)
				})
			}
		}
	}
}

// Virtual links send packets merged beyond the MTU, their checksums unfinished.
// Generic XDP leaves such to the stack.
func TestMergingLinks(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.TCX)
	for _, method := range []lab.Method{lab.NAT, lab.TUN, lab.DR} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprint(method, family), func(t *testing.T) {
				c := newCluster(t, method, lab.Options{XDP: "generic", Offload: true, Family: family})
				tell(t, c, story{"bulk", checkMuch, nil}, story{"kill idle", checkKillIdle, nil})
			})
		}
	}
}

// Every tunnel carries TCP, UDP and SCTP: bulk both ways over a path of 1500 bytes,
// which its headers do not leave whole to the client's packets, datagrams in one
// packet and in many, messages and their echoes.
func TestTunnels(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	generic, native, merged := lab.Options{XDP: "generic"}, lab.Options{XDP: "native"}, lab.Options{XDP: "generic", Offload: true}
	native6 := lab.Options{XDP: "native", Family: 6}
	for _, test := range []struct {
		tunnel  string
		options []lab.Options
	}{
		{"--tun-type gre", []lab.Options{generic, native, merged, native6}},
		{"--tun-type gre --tun-csum", []lab.Options{native}},
		{"--tun-type gue --tun-port 6080", []lab.Options{generic, native, merged, native6}},
		{"--tun-type gue --tun-port 6080 --tun-csum", []lab.Options{native}},
		{"--tun-type gue --tun-port 6080 --tun-remcsum", []lab.Options{merged}},
	} {
		for _, options := range test.options {
			t.Run(fmt.Sprintf("%s/%s%d/%t", test.tunnel, options.XDP, options.Family, options.Offload), func(t *testing.T) {
				if options.Offload {
					testenv.Need(t, testenv.TCX)
				}
				options.Tunnel = strings.Fields(test.tunnel)
				c := newCluster(t, lab.TUN, options)
				tell(t, c,
					story{"round", checkShortRound, nil},
					story{"bulk", func(t *testing.T, c *lab.Cluster) { checkBulk(t, c, 10*megabyte) }, nil},
					story{"datagrams", checkDatagrams, nil},
					story{"sctp", checkSCTP, noSCTP})
				if !options.Offload { // or nobody could send fragments whose checksum is right
					tell(t, c, story{"fragments", checkFragments, nil})
				}
			})
		}
	}
}

func checkShortRound(t *testing.T, c *lab.Cluster) {
	t.Helper()
	checkRound(t, c, 30, map[string]int{"rs1": 10, "rs2": 10, "rs3": 10})
}
