// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// xdpPass is XDP_PASS of linux/bpf.h.
const xdpPass = 2

// AcceptFrames makes an end of a veth pair take the frames that native XDP on
// the other end transmits or redirects to it. Without a program of its own it
// drops them (drivers/net/veth.c, veth_xdp_xmit). The program lets everything
// pass and goes when the link does.
func AcceptFrames(name string) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "accept_frames",
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return fmt.Errorf("load program for %s: %w", name, err)
	}
	defer program.Close()
	return change(name, "attach program to", func(l netlink.Link) error {
		return netlink.LinkSetXdpFdWithFlags(l, program.FD(), nl.XDP_FLAGS_DRV_MODE)
	})
}

// Traffic is what a link has received and sent since it was made. Whether the
// bytes include the link header is the driver's choice.
type Traffic struct {
	RxPackets, TxPackets, RxBytes, TxBytes uint64
}

// LinkTraffic returns the link's own counters.
func LinkTraffic(name string) (Traffic, error) {
	l, err := linkByName(name)
	if err != nil {
		return Traffic{}, err
	}
	s := l.Attrs().Statistics
	if s == nil {
		return Traffic{}, fmt.Errorf("read counters of %s: the kernel gave none", name)
	}
	return Traffic{RxPackets: s.RxPackets, TxPackets: s.TxPackets, RxBytes: s.RxBytes, TxBytes: s.TxBytes}, nil
}
