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
	for rest := words[3:]; len(rest) > 1; rest = rest[2:] {
		options[strings.TrimLeft(rest[0], "-")] = rest[1]
	}
	switch strings.Join(words[1:3], " ") {
	case "service set":
		return p.setServiceOfBoth(options)
	case "connections kill":
		return p.killBoth(options)
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
