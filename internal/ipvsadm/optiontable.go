// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"strings"

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
	{long: "weight", short: 'w', value: required, read: count(weight, readWeight, func(p *parser, n int64) { p.dest.Weight = int32(n) })},
	{long: "u-threshold", short: 'x', value: required, read: count(upperThreshold, readUpper, func(p *parser, n int64) { p.dest.Upper = uint32(n) })},
	{long: "l-threshold", short: 'y', value: required, read: count(lowerThreshold, readLower, func(p *parser, n int64) { p.dest.Lower = uint32(n) })},
	{long: "tun-type", value: required, read: (*parser).tunnelType},
	{long: "tun-port", value: required, read: count(tunPort, readTunPort, func(p *parser, n int64) { p.dest.TunnelPort = uint16(n) })},
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
	{long: "mcast-port", value: required, read: count(mcastPort, readDaemPort, func(p *parser, n int64) { p.daemon.Port = uint16(n) })},
	{long: "mcast-ttl", value: required, read: count(mcastTTL, readTTL, func(p *parser, n int64) { p.daemon.TTL = uint8(n) })},
	{long: "syncid", value: required, read: count(syncID, readSyncID, func(p *parser, n int64) { p.daemon.SyncID = uint8(n) })},
	{long: "sync-maxlen", value: required, read: count(syncMaxLen, readMaxLen, func(p *parser, n int64) { p.daemon.MaxLen = uint16(n) })},
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

func count(o optionSet, read func(string) (int64, error), put func(*parser, int64)) func(*parser, string, bool) error {
	return func(p *parser, value string, _ bool) error {
		if err := p.take(o); err != nil {
			return err
		}
		n, err := read(value)
		if err == nil {
			put(p, n)
		}
		return err
	}
}

func virtualService(proto ipvs.Protocol) func(*parser, string, bool) error {
	return func(p *parser, value string, _ bool) error {
		if err := p.take(serviceAddress); err != nil {
			return err
		}
		vip, _, ok := p.names.address(value, proto)
		if !ok {
			return misuse("illegal virtual server address[:port] specified")
		}
		p.service.Key = ipvs.Key{Protocol: proto, VIP: vip}
		if vip.Addr().Is6() {
			p.service.Netmask = ipvs.FullPrefix
		}
		return nil
	}
}

func (p *parser) mark(value string, _ bool) error {
	if err := p.take(serviceAddress); err != nil {
		return err
	}
	n, ok := number(value, 1, 1<<32-1)
	if !ok {
		return misuse("invalid fwmark value `%s' specified", value)
	}
	p.service.Key = ipvs.MarkKey(uint32(n), false)
	p.service.Protocol = ipvs.TCP // until the end: names of real servers' ports are TCP's
	return nil
}

func (p *parser) ipv6(string, bool) error {
	if p.service.Mark == 0 {
		return misuse("-6 used before -f\n") // an empty line follows
	}
	p.service.VIP = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	p.service.Netmask = ipvs.FullPrefix
	return nil
}

func (p *parser) scheduler(value string, _ bool) error {
	p.service.Scheduler = truncate(value, 15) // IP_VS_SCHEDNAME_MAXLEN less its end
	return p.take(scheduler)
}

func (p *parser) persistent(value string, hasValue bool) (err error) {
	if err := p.take(persistent); err != nil {
		return err
	}
	p.service.Flags |= ipvs.Persistent
	p.service.Timeout = defaultTimeout
	if hasValue {
		p.service.Timeout, err = parseTimeout(value, 1)
	}
	return err
}

func (p *parser) netmask(value string, _ bool) error {
	if err := p.take(netmask); err != nil {
		return err
	}
	if p.service.IPv6() {
		length := atoi(value)
		if length < 1 || length > int64(ipvs.FullPrefix) {
			return misuse("illegal ipv6 netmask specified")
		}
		p.service.Netmask = uint32(length)
		return nil
	}
	mask, ok := inetAton(value)
	if !ok {
		return misuse("illegal virtual server persistent mask specified")
	}
	p.service.Netmask = binary.BigEndian.Uint32(mask.AsSlice())
	return nil
}

func (p *parser) engine(value string, _ bool) error {
	p.service.Engine = truncate(value, 16) // IP_VS_PENAME_MAXLEN
	return p.take(engine)
}

func (p *parser) onePacket(string, bool) error {
	p.service.Flags |= ipvs.OnePacket
	return p.take(ops)
}

// schedFlagNames tell the bit of each flag and the scheduler that knows the name.
var schedFlagNames = map[string]struct {
	flag      ipvs.ServiceFlags
	scheduler string // empty: all
}{
	"flag-1":      {ipvs.SchedFlag1, ""},
	"flag-2":      {ipvs.SchedFlag2, ""},
	"flag-3":      {ipvs.SchedFlag3, ""},
	"sh-fallback": {ipvs.SchedFlag1, "sh"},
	"sh-port":     {ipvs.SchedFlag2, "sh"},
	"mh-fallback": {ipvs.SchedFlag1, "mh"},
	"mh-port":     {ipvs.SchedFlag2, "mh"},
}

// schedFlags goes by the scheduler given so far: -b must follow -s.
func (p *parser) schedFlags(value string, _ bool) error {
	if err := p.take(schedFlags); err != nil {
		return err
	}
	for name := range strings.SplitSeq(value, ",") {
		known, ok := schedFlagNames[name]
		switch {
		case name == "":
		case !ok:
			return misuse("invalid scheduler flag `%s'", name)
		case known.scheduler != "" && known.scheduler != p.service.Scheduler:
			return misuse("incompatible scheduler flag `%s'", name)
		}
		p.service.Flags |= known.flag
	}
	return nil
}

// realServer takes the port of the service given so far where it has none.
func (p *parser) realServer(value string, _ bool) error {
	if err := p.take(realServer); err != nil {
		return err
	}
	rip, hasPort, ok := p.names.address(value, p.service.Protocol)
	if !ok {
		return misuse("illegal real server address[:port] specified")
	}
	if !hasPort {
		rip = withPort(rip, p.service.VIP.Port())
	}
	p.dest.RIP = rip
	return nil
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

func forwarding(f ipvs.Forwarding) func(*parser, string, bool) error {
	return func(p *parser, _ string, _ bool) error {
		p.dest.Forwarding = f
		return p.take(forwardingMethod)
	}
}

func (p *parser) tunnelType(value string, _ bool) error {
	if err := p.take(tunType); err != nil {
		return err
	}
	for _, known := range []ipvs.TunnelType{ipvs.IPIP, ipvs.GUE, ipvs.GRE} {
		if value == known.String() {
			p.dest.TunnelType = known
			return nil
		}
	}
	return misuse("illegal tunnel type specified")
}

func tunnelFlags(o optionSet, f ipvs.TunnelFlags) func(*parser, string, bool) error {
	return func(p *parser, _ string, _ bool) error {
		p.dest.TunnelFlags |= f
		return p.take(o)
	}
}
