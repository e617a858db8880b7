// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// This file is the border: on one side Go's words, on the other the bytes the
// maps hold. Nothing else in the project knows a byte order.

// networkOrder turns a port round; the machines that run this are little-endian.
func networkOrder(port uint16) uint16 {
	return bits.ReverseBytes16(port)
}

func toAddr(a netip.Addr) directorAddr {
	return directorAddr{Bytes: a.As16()}
}

func fromAddr(a directorAddr) netip.Addr {
	return netip.AddrFrom16(a.Bytes).Unmap()
}

func fromAddrPort(a directorAddr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(fromAddr(a), networkOrder(port))
}

func toServiceKey(k ipvs.Key) directorServiceKey {
	return directorServiceKey{
		Vip:   toAddr(k.VIP.Addr()),
		Port:  networkOrder(k.VIP.Port()),
		Proto: uint8(k.Protocol),
		Mark:  k.Mark,
	}
}

func fromServiceKey(k directorServiceKey) ipvs.Key {
	return ipvs.Key{Protocol: ipvs.Protocol(k.Proto), VIP: fromAddrPort(k.Vip, k.Port), Mark: k.Mark}
}

func toMarkKey(vip netip.Prefix, protocol ipvs.Protocol) directorMarkKey {
	key := directorMarkKey{
		Prefix: uint32(markKeyBits - vip.Addr().BitLen() + vip.Bits()),
		Proto:  uint8(protocol),
		Family: unix.AF_INET6,
		Vip:    toAddr(vip.Addr()),
	}
	if vip.Addr().Is4() {
		key.Family = unix.AF_INET
	}
	return key
}

// fromMarkKey returns the network of VIPs alone.
func fromMarkKey(k directorMarkKey) netip.Prefix {
	vip := fromAddr(k.Vip)
	return netip.PrefixFrom(vip, int(k.Prefix)-markKeyBits+vip.BitLen())
}

func toMarkRule(r ipvs.MarkRule, use directorMarkUse) directorMarkRule {
	return directorMarkRule{
		Vip:       toAddr(r.VIP.Addr()),
		Bits:      uint8(r.VIP.Bits()),
		Proto:     uint8(r.Protocol),
		FirstPort: r.Ports.First,
		LastPort:  r.Ports.Last,
		Mark:      r.Mark,
		Use:       use,
	}
}

func fromMarkRule(r directorMarkRule) ipvs.MarkRule {
	return ipvs.MarkRule{
		VIP:      netip.PrefixFrom(fromAddr(r.Vip), int(r.Bits)),
		Protocol: ipvs.Protocol(r.Proto),
		Ports:    ipvs.PortRange{First: r.FirstPort, Last: r.LastPort},
		Mark:     r.Mark,
	}
}

func toSysctlKey(name string) (key directorSysctlKey) {
	copy(key.Name[:], name)
	return key
}

func fromSysctlKey(key directorSysctlKey) string {
	return string(bytes.TrimRight(key.Name[:], "\x00"))
}

// toNetmask returns a service's mask as the datapath takes it: of IPv4 in
// network order, of IPv6 the length of the prefix.
func toNetmask(s ipvs.Service) uint32 {
	if s.IPv6() {
		return s.Netmask
	}
	return bits.ReverseBytes32(s.Netmask)
}

func fromNetmask(k ipvs.Key, netmask uint32) uint32 {
	return toNetmask(ipvs.Service{Key: k, Netmask: netmask})
}

func toStats(s ipvs.Stats) directorStats {
	return directorStats{Conns: s.Conns, InPkts: s.InPkts, OutPkts: s.OutPkts, InBytes: s.InBytes, OutBytes: s.OutBytes}
}

func fromStats(s directorStats) ipvs.Stats {
	return ipvs.Stats{Conns: s.Conns, InPkts: s.InPkts, OutPkts: s.OutPkts, InBytes: s.InBytes, OutBytes: s.OutBytes}
}

var schedulers = map[string]directorScheduler{
	"none":  directorSchedulerSCHEDULER_NONE,
	"rr":    directorSchedulerSCHEDULER_RR,
	"wrr":   directorSchedulerSCHEDULER_WRR,
	"lc":    directorSchedulerSCHEDULER_LC,
	"wlc":   directorSchedulerSCHEDULER_WLC,
	"sed":   directorSchedulerSCHEDULER_SED,
	"nq":    directorSchedulerSCHEDULER_NQ,
	"fo":    directorSchedulerSCHEDULER_FO,
	"ovf":   directorSchedulerSCHEDULER_OVF,
	"dh":    directorSchedulerSCHEDULER_DH,
	"sh":    directorSchedulerSCHEDULER_SH,
	"mh":    directorSchedulerSCHEDULER_MH,
	"twos":  directorSchedulerSCHEDULER_TWOS,
	"lblc":  directorSchedulerSCHEDULER_LBLC,
	"lblcr": directorSchedulerSCHEDULER_LBLCR,
}

func fromScheduler(s directorScheduler) string {
	for name, scheduler := range schedulers {
		if scheduler == s {
			return name
		}
	}
	return "none"
}

func toTunnel(d ipvs.Destination) directorTunnel {
	return directorTunnel(uint8(d.TunnelType) | uint8(d.TunnelFlags)<<tunnelFlagsShift)
}

func tunnelType(t directorTunnel) ipvs.TunnelType {
	return ipvs.TunnelType(t & directorTunnelTUNNEL_TYPE)
}

// setTunnel tells a destination what its entry says of the tunnel.
func setTunnel(d *ipvs.Destination, entry *directorDest) {
	d.TunnelType = tunnelType(entry.Tunnel)
	d.TunnelFlags = ipvs.TunnelFlags(entry.Tunnel >> tunnelFlagsShift)
	d.TunnelPort = networkOrder(entry.TunnelPort)
}

// tunnelFlagsShift is bpf/types/dest.h: TUNNEL_FLAGS_SHIFT.
const tunnelFlagsShift = 2

// filterPlace is bpf/service.h: filter_uses().
func filterPlace(a netip.Addr) uint32 {
	b := a.As16()
	var folded uint32
	for i := 0; i < len(b); i += 4 {
		folded ^= uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24
	}
	folded ^= 0xffff0000 // of IPv4 addresses, which all begin so
	return folded * 0x61c88647 >> (32 - filterBits)
}

// filterBits is bpf/types/settings.h: FILTER_BITS.
const filterBits = 16

// markKeyBits is bpf/types/mark.h: MARK_KEY_BITS.
const markKeyBits = 160
