// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// save prints the command lines that make the table, sorted. As in ipvsadm they
// do not hold the thresholds, and marks are signed, which it cannot read again.
func (s *session) save(r *request) error {
	services, err := s.director.Services()
	if err != nil {
		return err
	}
	sortAll(services)
	for _, svc := range services {
		target := s.target(svc.Service, r.given&numeric != 0)
		fmt.Fprintf(s.out, "-A %s -s %s%s\n", target, svc.Scheduler, saveOptions(svc.Service))
		for _, d := range svc.Destinations {
			rip := s.names.endpoint(d.RIP, svc.Protocol, r.given&numeric != 0)
			fmt.Fprintf(s.out, "-a %s -r %s %s -w %d%s\n", target, rip, d.Forwarding.Option(), d.Weight, saveTunnel(d.Destination))
		}
	}
	return nil
}

// target is the option that names the service.
func (s *session) target(svc ipvs.Service, numeric bool) string {
	if svc.Mark != 0 {
		text := fmt.Sprintf("-f %d", int32(svc.Mark))
		if svc.IPv6() {
			text += " -6"
		}
		return text
	}
	option := map[ipvs.Protocol]string{ipvs.TCP: "-t", ipvs.UDP: "-u", ipvs.SCTP: "--sctp-service"}[svc.Protocol]
	return option + " " + s.names.endpoint(svc.VIP, svc.Protocol, numeric)
}

func saveOptions(svc ipvs.Service) string {
	var b strings.Builder
	if svc.Flags&ipvs.Persistent != 0 {
		fmt.Fprintf(&b, " -p %d", svc.Timeout)
		if mask := svc.MaskText(); mask != "" {
			fmt.Fprintf(&b, " -M %s", mask)
		}
	}
	if svc.Engine != "" {
		fmt.Fprintf(&b, " --pe %s", svc.Engine)
	}
	if svc.Flags&ipvs.OnePacket != 0 {
		b.WriteString(" -o")
	}
	if svc.Flags&allSchedFlags != 0 {
		fmt.Fprintf(&b, " -b %s", namedFlags(svc))
	}
	return b.String()
}

const allSchedFlags = ipvs.SchedFlag1 | ipvs.SchedFlag2 | ipvs.SchedFlag3

// namedFlags names the scheduler's flags. sh and mh name two of them, and a third
// goes unnamed; other schedulers have numbers for names.
func namedFlags(svc ipvs.Service) string {
	names := []string{"flag-1", "flag-2", "flag-3"}
	if svc.Scheduler == "sh" || svc.Scheduler == "mh" {
		names = []string{svc.Scheduler + "-fallback", svc.Scheduler + "-port"}
	}
	var set []string
	for i, name := range names {
		if svc.Flags&(ipvs.SchedFlag1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}

func saveTunnel(d ipvs.Destination) string {
	if d.Forwarding != ipvs.Tunnel {
		return ""
	}
	text := " --tun-type " + d.TunnelType.String()
	if d.TunnelType == ipvs.IPIP {
		return text
	}
	if d.TunnelType == ipvs.GUE {
		text += fmt.Sprintf(" --tun-port %d", d.TunnelPort)
	}
	switch d.TunnelFlags {
	case ipvs.Checksum:
		return text + " --tun-csum"
	case ipvs.RemoteChecksum:
		return text + " --tun-remcsum"
	}
	return text + " --tun-nocsum"
}
