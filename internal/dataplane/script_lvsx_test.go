// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// lvsxOptions are what stands behind a command, all with values but -6.
type lvsxOptions map[string]string

// lvsx runs a command of our own on both: "lvsx service set -t 10.0.0.80:80
// --removed reset", "lvsx connections kill --client 172.16.0.1".
func (p *pair) lvsx(words []string) string {
	options := make(lvsxOptions)
	for rest := words[3:]; len(rest) > 0; {
		name := strings.TrimLeft(rest[0], "-")
		options[name] = ""
		if rest = rest[1:]; name != "6" && len(rest) > 0 {
			options[name], rest = rest[0], rest[1:]
		}
	}
	switch strings.Join(words[1:3], " ") {
	case "service set":
		return p.setServiceOfBoth(options)
	case "connections kill":
		return p.killBoth(options)
	case "mark add", "mark del":
		return p.markBoth(words[2], options)
	}
	return "not a step"
}

func (p *pair) setServiceOfBoth(options lvsxOptions) string {
	settings, err := options.settings()
	if err != nil {
		return err.Error()
	}
	key, err := options.key()
	if err != nil {
		return err.Error()
	}
	p.wrong = ""
	_, err = bothDirectors{p}.Apply(ipvs.Change{Op: ipvs.SetService, Service: ipvs.Service{Key: key, Settings: settings}})
	if err != nil && p.wrong == "" && errnoOf(err) == 0 {
		return err.Error()
	}
	return p.wrong
}

func (o lvsxOptions) key() (ipvs.Key, error) {
	if text, named := o["f"]; named {
		mark, err := strconv.ParseUint(text, 10, 32)
		_, ipv6 := o["6"]
		return ipvs.MarkKey(uint32(mark), ipv6), err
	}
	for option, protocol := range map[string]ipvs.Protocol{"t": ipvs.TCP, "u": ipvs.UDP, "sctp-service": ipvs.SCTP} {
		if text, named := o[option]; named {
			vip, err := netip.ParseAddrPort(text)
			return ipvs.Key{Protocol: protocol, VIP: vip}, err
		}
	}
	return ipvs.Key{}, errors.New("no service")
}

func (o lvsxOptions) settings() (s ipvs.ServiceSettings, err error) {
	for name, at := range map[string]*uint32{"timeout-tcp": &s.Timeouts.TCP, "timeout-fin": &s.Timeouts.TCPFin, "timeout-udp": &s.Timeouts.UDP} {
		if text, named := o[name]; named {
			seconds, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return s, err
			}
			*at = uint32(seconds)
		}
	}
	if text, named := o["removed"]; named {
		err = s.Removed.UnmarshalText([]byte(text))
	}
	return s, err
}

// killBoth kills what a filter chooses; without one, everything.
func (p *pair) killBoth(options lvsxOptions) string {
	filter := ipvs.ConnFilter{State: options["state"]}
	for name, at := range map[string]*ipvs.Endpoint{"client": &filter.Client, "vip": &filter.VIP, "server": &filter.Server} {
		var err error
		if *at, err = ipvs.ParseEndpoint(options[name]); err != nil {
			return err.Error()
		}
	}
	want := p.model.Kill(filter)
	if got := p.Kill(filter, false); got != want {
		return fmt.Sprintf("killed %+v, want %+v", got, want)
	}
	return ""
}

// markBoth adds or deletes a rule. One that contradicts another is refused.
func (p *pair) markBoth(command string, options lvsxOptions) string {
	r, err := options.markRule()
	if err != nil {
		return err.Error()
	}
	if command == "add" {
		if p.AddMarkRules(r) == nil {
			p.model.AddMark(r)
		}
		return ""
	}
	deleted, err := p.DeleteMarkRules(r)
	if want := p.model.DeleteMark(r); err != nil || (deleted == 1) != want {
		return fmt.Sprintf("deleted %d rules, %v, want one: %t", deleted, err, want)
	}
	return ""
}

func (o lvsxOptions) markRule() (r ipvs.MarkRule, err error) {
	if r.VIP, err = ipvs.ParseMarkVIP(o["vip"]); err != nil {
		return r, err
	}
	if text, named := o["proto"]; named {
		if err := r.Protocol.UnmarshalText([]byte(text)); err != nil {
			return r, err
		}
	}
	r.Ports = ipvs.AllPorts
	if text, named := o["ports"]; named {
		if r.Ports, err = ipvs.ParsePortRange(text); err != nil {
			return r, err
		}
	}
	if text, named := o["mark"]; named {
		_, err = fmt.Sscan(text, &r.Mark)
	}
	return r, err
}

// forgetMarks deletes all rules of both.
func (p *pair) forgetMarks() {
	p.t.Helper()
	for _, r := range p.MarkRules() {
		p.model.DeleteMark(r)
		if _, err := p.DeleteMarkRules(r); err != nil {
			p.t.Fatal(err)
		}
	}
}
