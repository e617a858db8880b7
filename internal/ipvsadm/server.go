// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"net/netip"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// This file reads the options of real servers.

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

func (p *parser) finishServer() error {
	s, d := &p.service, &p.dest
	if s.Mark == 0 && d.Forwarding != ipvs.Masq {
		// TUN and DR cannot change the port: the packet arrives as it was sent.
		d.RIP = withPort(d.RIP, s.VIP.Port())
	}
	if d.RIP.Addr().Is6() != s.IPv6() && d.Forwarding != ipvs.Tunnel {
		return misuse("Different address family is allowed only for tunneling servers")
	}
	if p.given&tunnelOptions != 0 && d.Forwarding != ipvs.Tunnel {
		return misuse("Tunnel options conflict with forward method")
	}
	return p.checkTunnel()
}

// tunnelRules tell which options a tunnel type needs and takes. Of the checksum
// options it takes one at most.
var tunnelRules = map[ipvs.TunnelType]rule{
	ipvs.IPIP: {needs: 0, accepts: 0},
	ipvs.GUE:  {needs: tunPort, accepts: tunNoChecksum | tunChecksum | tunRemoteChecksum},
	ipvs.GRE:  {needs: 0, accepts: tunNoChecksum | tunChecksum},
}

func (p *parser) checkTunnel() error {
	r, kind := tunnelRules[p.dest.TunnelType], p.dest.TunnelType
	first := ""
	for i, name := range optionNames {
		o := optionSet(1) << i
		if o&(tunnelOptions&^tunType) == 0 {
			continue
		}
		switch {
		case p.given&o == 0 && r.needs&o != 0:
			return misuse("You need to supply the '%s' option for the '%s' tunnel type", name, kind)
		case p.given&o == 0 || r.needs&o != 0:
		case r.accepts&o == 0:
			return misuse("Illegal '%s' option with the '%s' tunnel type", name, kind)
		case first != "":
			return misuse("The option '%s' conflicts with the '%s' option in the '%s' tunnel type", name, first, kind)
		default:
			first = name
		}
	}
	return nil
}
