// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Setting is one of the kernel's sysctls net.ipv4.vs.*: by the same name a
// setting of the director.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	About   string `json:"about"`
	Fixed   string `json:"fixed,omitempty"` // why it stays as it is here; empty: it can be set

	min, max int32
}

// What keeps settings from being set.
const (
	noSyncDaemon  = "there is no sync daemon yet"
	noNetfilter   = "packets pass the datapath before netfilter sees them"
	noKernelTasks = "the director estimates rates itself, without the kernel's threads"
)

// settings are those of Linux 6.12, with its ranges (ip_vs_ctl.c: vs_vars).
var settings = []Setting{
	number("am_droprate", 10, "one packet in so many is dropped while drop_packet is 3"),
	number("amemthresh", 1024, "memory is low below so many free pages"),
	fixed("backup_only", "0", "a backup does not forward", noSyncDaemon),
	number("cache_bypass", 0, "without a real server, packets of a mark go to where they were sent"),
	number("conn_reuse_mode", 1, "a SYN of a closed connection is scheduled anew: 0 never, 1 yes, 2 in FIN_WAIT of DR and TUN, too"),
	fixed("conntrack", "0", "netfilter tracks connections", noNetfilter),
	mode("drop_entry", "idle and half-open connections are dropped at random: 0 never, 1 and 2 while memory is low, 3 always"),
	mode("drop_packet", "some new connections are refused: 0 never, 1 and 2 while memory is low, 3 always"),
	fixed("est_cpulist", "-", "where rates are estimated", noKernelTasks),
	fixed("est_nice", "0", "how nicely rates are estimated", noKernelTasks),
	number("expire_nodest_conn", 0, "connections of a removed real server end at once"),
	number("expire_quiescent_template", 0, "persistence leaves a real server of weight 0"),
	fixed("ignore_tunneled", "0", "what comes out of a tunnel is not balanced", "it never is: the director looks at Ethernet interfaces alone"),
	ranged("lblc_expiration", 86400, -maxSeconds, maxSeconds, "after so many seconds lblc forgets an address"),
	ranged("lblcr_expiration", 86400, -maxSeconds, maxSeconds, "after so many seconds lblcr forgets an address"),
	number("nat_icmp_send", 0, "a NAT real server hears that a connection is not known"),
	number("pmtu_disc", 1, "what is too large for a tunnel and must not be fragmented is refused; 0: it is fragmented all the same"),
	number("run_estimation", 1, "rates are estimated"),
	number("schedule_icmp", 0, "ICMP errors begin connections"),
	mode("secure_tcp", "stricter TCP states against floods: 0 never, 1 and 2 while memory is low, 3 always"),
	number("sloppy_sctp", 0, "SCTP connections begin with any packet but ABORT"),
	number("sloppy_tcp", 0, "TCP connections begin with any packet but RST"),
	fixed("snat_reroute", "1", "NAT replies take the route that the VIP's packets take", "they always do"),
	fixed("sync_persist_mode", "0", "of persistent services templates alone are synchronised", noSyncDaemon),
	fixed("sync_ports", "1", "ports and threads of the sync daemons", noSyncDaemon),
	fixed("sync_qlen_max", "-", "messages that may wait to be sent", noSyncDaemon),
	fixed("sync_refresh_period", "0", "seconds until a connection is sent again", noSyncDaemon),
	fixed("sync_retries", "0", "how often a connection is sent again", noSyncDaemon),
	fixed("sync_sock_size", "0", "bytes of the sockets' buffers", noSyncDaemon),
	fixed("sync_threshold", "3 50", "packets before a connection is sent, and between", noSyncDaemon),
	fixed("sync_version", "1", "of the protocol", noSyncDaemon),
}

// maxSeconds keeps a time within the kernel's timers, whatever its HZ.
const maxSeconds = math.MaxInt32 / 1000

func ranged(name string, value, least, most int32, about string) Setting {
	text := strconv.Itoa(int(value))
	return Setting{Name: name, Value: text, Default: text, About: about, min: least, max: most}
}

// number takes whatever the kernel's int holds.
func number(name string, value int32, about string) Setting {
	return ranged(name, value, math.MinInt32, math.MaxInt32, about)
}

// mode is a line of defence (ip_vs_ctl.c: proc_do_defense_mode).
func mode(name, about string) Setting {
	return ranged(name, 0, 0, 3, about)
}

func fixed(name, value, about, why string) Setting {
	return Setting{Name: name, Value: value, Default: value, About: about, Fixed: why}
}

// Settings returns all settings at their defaults, by name.
func Settings() []Setting {
	return append([]Setting(nil), settings...)
}

// FindSetting returns a setting at its default. The name may be the sysctl's:
// net.ipv4.vs.sloppy_tcp.
func FindSetting(name string) (Setting, error) {
	short := strings.TrimPrefix(strings.TrimPrefix(name, "net.ipv4.vs."), "net/ipv4/vs/")
	for _, s := range settings {
		if s.Name == short {
			return s, nil
		}
	}
	return Setting{}, fmt.Errorf("find setting %q: there is none of that name; lvsx get lists all", name)
}

// Parse reads a value that the setting may have.
func (s Setting) Parse(text string) (int32, error) {
	if s.Fixed != "" {
		return 0, fmt.Errorf("set %s: it stays at %s (%s): %s", s.Name, s.Value, s.About, s.Fixed)
	}
	value, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, fmt.Errorf("set %s: %q is not a number", s.Name, text)
	case err != nil, int32(value) < s.min, int32(value) > s.max:
		return 0, fmt.Errorf("set %s: %s is not between %d and %d", s.Name, text, s.min, s.max)
	}
	return int32(value), nil
}
