// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// layout is one set of columns.
type layout struct {
	option  optionSet
	title   string
	columns func(d ipvs.DestinationStatus) string
}

// layouts are tried in order; the last is for all.
var layouts = []layout{
	{stats, "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  -> RemoteAddress:Port\n", nil},
	{rate, "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  -> RemoteAddress:Port\n", nil},
	{thresholds, "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  -> RemoteAddress:Port\n",
		func(d ipvs.DestinationStatus) string {
			return fmt.Sprintf("%-10d %-10d %-10d %-10d", d.Upper, d.Lower, d.Active, d.Inactive)
		}},
	{persistentConn, "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n  -> RemoteAddress:Port\n",
		func(d ipvs.DestinationStatus) string {
			return fmt.Sprintf("%-9d %-11d %-10d %-10d", d.Weight, d.Persistent, d.Active, d.Inactive)
		}},
	{tunInfo, "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n",
		func(d ipvs.DestinationStatus) string {
			return fmt.Sprintf("%-7s %-13s %-6d %-10d %-10d", d.Forwarding, tunnelInfo(d.Destination), d.Weight, d.Active, d.Inactive)
		}},
	{^optionSet(0), "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n",
		func(d ipvs.DestinationStatus) string {
			return fmt.Sprintf("%-7s %-6d %-10d %-10d", d.Forwarding, d.Weight, d.Active, d.Inactive)
		}},
}

func layoutOf(given optionSet) layout {
	for _, l := range layouts {
		if given&l.option != 0 {
			return l
		}
	}
	return layouts[len(layouts)-1]
}

// tunnelInfo is type, port and checksum of a tunnel.
func tunnelInfo(d ipvs.Destination) string {
	if d.Forwarding != ipvs.Tunnel {
		return "n/a"
	}
	checksum := map[ipvs.TunnelFlags]string{ipvs.NoChecksum: "-c", ipvs.Checksum: "+c", ipvs.RemoteChecksum: "r+c"}[d.TunnelFlags]
	switch d.TunnelType {
	case ipvs.GUE:
		return fmt.Sprintf("gue:%d:%s", d.TunnelPort, checksum)
	case ipvs.GRE:
		return "gre:" + checksum
	}
	return d.TunnelType.String()
}

func pick(l layout, s ipvs.Stats, perSecond *ipvs.Stats) ipvs.Stats {
	if l.option == stats {
		return s
	}
	if perSecond == nil {
		return ipvs.Stats{}
	}
	return *perSecond
}

func counters(s ipvs.Stats, given optionSet) string {
	var b strings.Builder
	for _, n := range []uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes} {
		b.WriteString(scaled(n, given&exact != 0))
	}
	return b.String()
}

// scaled prints a counter in nine columns: exactly, then as wide as needed, or
// in thousands, millions or thousand millions once it needs more than eight digits.
func scaled(n uint64, exact bool) string {
	switch {
	case exact && n > 99_999_999:
		return fmt.Sprintf(" %d", n)
	case exact, n < 100_000_000:
		return fmt.Sprintf("%9d", n)
	case n < 1_000_000_000:
		return fmt.Sprintf("%8dK", n/1000)
	case n < 100_000_000_000:
		return fmt.Sprintf("%8dM", n/1_000_000)
	}
	return fmt.Sprintf("%8dG", n/1_000_000_000)
}
