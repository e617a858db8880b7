// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// This file reads the options of virtual services.

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
		mask, ok = p.names.lookup(value) // as ipvsadm does, odd as it is
	}
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

// schedFlags only notes the names: -s may follow.
func (p *parser) schedFlags(value string, _ bool) error {
	p.flagNames = truncate(value, longestFlagNames)
	return p.take(schedFlags)
}

// readSchedFlags comes before anything is said of missing options.
func (p *parser) readSchedFlags() error {
	for name := range strings.SplitSeq(p.flagNames, ",") {
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

func (p *parser) finishService() error {
	s := &p.service
	kept := s.Flags&ipvs.Persistent != 0
	if s.Mark == 0 && s.VIP.Port() == 0 && !kept {
		return misuse("Zero port specified for non-persistent service")
	}
	if s.Flags&ipvs.OnePacket != 0 && s.Mark == 0 && s.Protocol != ipvs.UDP {
		return misuse("One-Packet Scheduling is only for UDP virtual services")
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	if !kept {
		s.Netmask = 0
	}
	return nil
}

func parseTimeout(text string, least int64) (uint32, error) {
	seconds, ok := number(text, least, longestTimeout)
	if !ok {
		return 0, misuse("invalid timeout value `%s' specified", text)
	}
	return uint32(seconds), nil
}
