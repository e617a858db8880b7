// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"math"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// options is every word that a command line may have.
var options = []option{
	{long: "add-service", short: 'A', command: addService},
	{long: "edit-service", short: 'E', command: editService},
	{long: "delete-service", short: 'D', command: deleteService},
	{long: "clear", short: 'C', command: flush},
	{long: "list", short: 'L', command: list},
	{short: 'l', command: list},
	{long: "zero", short: 'Z', command: zero},
	{long: "add-server", short: 'a', command: addServer},
	{long: "edit-server", short: 'e', command: editServer},
	{long: "delete-server", short: 'd', command: deleteServer},
	{long: "set", command: set},
	{long: "start-daemon", value: required, command: startDaemon, read: (*parser).startDaemon},
	{long: "stop-daemon", value: required, command: stopDaemon, read: (*parser).stopDaemon},
	{long: "restore", short: 'R', command: restore},
	{long: "save", short: 'S', command: save},
	{long: "help", short: 'h', command: help},
	{long: "version", short: 'v', command: version},

	{long: "tcp-service", short: 't', value: required, read: virtualService(ipvs.TCP)},
	{long: "udp-service", short: 'u', value: required, read: virtualService(ipvs.UDP)},
	{long: "sctp-service", value: required, read: virtualService(ipvs.SCTP)},
	{long: "fwmark-service", short: 'f', value: required, read: (*parser).mark},
	{long: "ipv6", short: '6', read: (*parser).ipv6},
	{long: "scheduler", short: 's', value: required, read: (*parser).scheduler},
	{long: "persistent", short: 'p', value: optional, read: (*parser).persistent},
	{long: "netmask", short: 'M', value: required, read: (*parser).netmask},
	{long: "pe", value: required, read: (*parser).engine},
	{long: "ops", short: 'o', read: (*parser).onePacket},
	{long: "sched-flags", short: 'b', value: required, read: (*parser).schedFlags},

	{long: "real-server", short: 'r', value: required, read: (*parser).realServer},
	{long: "masquerading", short: 'm', read: forwarding(ipvs.Masq)},
	{long: "ipip", short: 'i', read: forwarding(ipvs.Tunnel)},
	{long: "gatewaying", short: 'g', read: forwarding(ipvs.Route)},
	{long: "weight", short: 'w', value: required, read: bounded(weight, 0, math.MaxInt32, "illegal weight specified",
		func(p *parser, n int64) { p.dest.Weight = int32(n) })},
	{long: "u-threshold", short: 'x', value: required, read: bounded(upperThreshold, 0, math.MaxInt32, "illegal u_threshold specified",
		func(p *parser, n int64) { p.dest.Upper = uint32(n) })},
	{long: "l-threshold", short: 'y', value: required, read: bounded(lowerThreshold, 0, math.MaxInt32, "illegal l_threshold specified",
		func(p *parser, n int64) { p.dest.Lower = uint32(n) })},
	{long: "tun-type", value: required, read: (*parser).tunnelType},
	{long: "tun-port", value: required, read: bounded(tunPort, 1, 65535, "illegal tunnel port specified",
		func(p *parser, n int64) { p.dest.TunnelPort = uint16(n) })},
	{long: "tun-nocsum", read: tunnelFlags(tunNoChecksum, ipvs.NoChecksum)},
	{long: "tun-csum", read: tunnelFlags(tunChecksum, ipvs.Checksum)},
	{long: "tun-remcsum", read: tunnelFlags(tunRemoteChecksum, ipvs.RemoteChecksum)},

	{long: "numeric", short: 'n', read: flag(numeric)},
	{long: "connection", short: 'c', read: flag(connection)},
	{long: "timeout", read: flag(timeout)},
	{long: "daemon", read: flag(daemon)},
	{long: "stats", read: flag(stats)},
	{long: "rate", read: flag(rate)},
	{long: "thresholds", read: flag(thresholds)},
	{long: "persistent-conn", read: flag(persistentConn)},
	{long: "tun-info", read: flag(tunInfo)},
	{long: "nosort", read: flag(noSort)},
	{long: "sort", read: func(*parser, string, bool) error { return nil }},
	{long: "exact", read: flag(exact)},

	{long: "mcast-interface", value: required, read: (*parser).mcastInterface},
	{long: "mcast-group", value: required, read: (*parser).mcastGroup},
	{long: "mcast-port", value: required, read: bounded(mcastPort, 1, 65535, "illegal mcast-port specified",
		func(p *parser, n int64) { p.daemon.Port = uint16(n) })},
	{long: "mcast-ttl", value: required, read: bounded(mcastTTL, 1, 255, "illegal mcast-ttl specified",
		func(p *parser, n int64) { p.daemon.TTL = uint8(n) })},
	{long: "syncid", value: required, read: bounded(syncID, 0, 255, "illegal syncid specified",
		func(p *parser, n int64) { p.daemon.SyncID = uint8(n) })},
	{long: "sync-maxlen", value: required, read: bounded(syncMaxLen, 1, 65507, "illegal sync-maxlen specified",
		func(p *parser, n int64) { p.daemon.MaxLen = uint16(n) })},
}

// take notes that the option was given; none may be given twice.
func (p *parser) take(o optionSet) error {
	if p.given&o != 0 {
		for i, name := range optionNames {
			if o == 1<<i {
				return misuse("multiple '%s' options specified", name)
			}
		}
	}
	p.given |= o
	return nil
}

func flag(o optionSet) func(*parser, string, bool) error {
	return func(p *parser, _ string, _ bool) error { return p.take(o) }
}

// bounded reads an option whose value is a number from least to most.
func bounded(o optionSet, least, most int64, message string, put func(*parser, int64)) func(*parser, string, bool) error {
	return func(p *parser, value string, _ bool) error {
		if err := p.take(o); err != nil {
			return err
		}
		n, ok := number(value, least, most)
		if !ok {
			return misuse("%s", message)
		}
		put(p, n)
		return nil
	}
}
