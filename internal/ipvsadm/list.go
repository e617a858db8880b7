// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// nameWidth is the column of addresses; longer names of IPv4 addresses lose
// their end.
const nameWidth = 28

func (s *session) column(a netip.AddrPort, proto ipvs.Protocol, given optionSet) string {
	name := s.names.endpoint(a, proto, given&numeric != 0)
	if a.Addr().Is6() {
		return name
	}
	return truncate(name, nameWidth)
}

func (s *session) list(r *request) error {
	switch {
	case r.given&connection != 0:
		return s.listConns(r.given)
	case r.given&serviceAddress != 0:
		return s.listService(r)
	case r.given&timeout != 0:
		return s.listTimeouts()
	case r.given&daemon != 0:
		return s.listDaemons()
	}
	return s.listAll(r.given)
}

func (s *session) listTimeouts() error {
	keeper, ok := s.director.(TimeoutKeeper)
	if !ok {
		return notBuilt("-L --timeout")
	}
	t, err := keeper.Timeouts()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP, t.TCPFin, t.UDP)
	return nil
}

// listDaemons lists none where the director has no sync daemons: that is true.
func (s *session) listDaemons() error {
	keeper, ok := s.director.(DaemonKeeper)
	if !ok {
		return nil
	}
	daemons, err := keeper.Daemons()
	if err != nil {
		return err
	}
	for _, d := range daemons {
		fmt.Fprintln(s.out, d)
	}
	return nil
}

func (s *session) listAll(given optionSet) error {
	services, err := s.director.Services()
	if err != nil {
		return err
	}
	if given&noSort == 0 {
		sortAll(services)
	}
	if given&rate != 0 && !estimated(services) {
		return notBuilt("-L --rate")
	}
	fmt.Fprintln(s.out, "IP Virtual Server version 1.2.1 (size=4096)")
	s.listServices(services, given)
	return nil
}

func (s *session) listService(r *request) error {
	svc, err := s.director.Service(r.service.Key)
	if errors.Is(err, syscall.ESRCH) {
		return &failure{code: exitMissing, text: "No such service"}
	}
	if err != nil {
		return err
	}
	services := []ipvs.ServiceStatus{svc}
	if r.given&noSort == 0 {
		sortAll(services)
	}
	if r.given&rate != 0 && !estimated(services) {
		return notBuilt("-L --rate")
	}
	s.listServices(services, r.given)
	return nil
}

func sortAll(services []ipvs.ServiceStatus) {
	mergeSort(services, compareServices)
	for _, svc := range services {
		mergeSort(svc.Destinations, compareDestinations)
	}
}

// estimated tells whether the director knows the rates of all services.
func estimated(services []ipvs.ServiceStatus) bool {
	for _, svc := range services {
		if svc.Rate == nil {
			return false
		}
	}
	return true
}

func (s *session) listServices(services []ipvs.ServiceStatus, given optionSet) {
	l := layoutOf(given)
	s.out.WriteString(l.title)
	for _, svc := range services {
		s.listOne(svc, l, given)
	}
}

func (s *session) listOne(svc ipvs.ServiceStatus, l layout, given optionSet) {
	name := s.serviceName(svc.Key, given)
	if l.columns == nil {
		fmt.Fprintf(s.out, "%-33s%s\n", name, counters(pick(l, svc.Stats, svc.Rate), given))
	} else {
		fmt.Fprintf(s.out, "%s %s%s\n", name, svc.Scheduler, listOptionsOf(svc.Service))
	}
	for _, d := range svc.Destinations {
		rip := s.column(d.RIP, svc.Protocol, given)
		if l.columns == nil {
			fmt.Fprintf(s.out, "  -> %-28s%s\n", rip, counters(pick(l, d.Stats, d.Rate), given))
		} else {
			fmt.Fprintf(s.out, "  -> %-28s %s\n", rip, l.columns(d))
		}
	}
}

func (s *session) serviceName(k ipvs.Key, given optionSet) string {
	if k.Mark == 0 {
		return fmt.Sprintf("%-4s %s", k.Protocol, s.column(k.VIP, k.Protocol, given))
	}
	name := fmt.Sprintf("FWM  %d", int32(k.Mark)) // ipvsadm prints marks as signed
	if k.IPv6() {
		name += " IPv6"
	}
	return name
}

func listOptionsOf(svc ipvs.Service) string {
	var b strings.Builder
	if svc.Flags&allSchedFlags != 0 {
		fmt.Fprintf(&b, " (%s)", namedFlags(svc))
	}
	if svc.Flags&ipvs.Persistent != 0 {
		fmt.Fprintf(&b, " persistent %d", svc.Timeout)
		if mask := svc.MaskText(); mask != "" {
			fmt.Fprintf(&b, " mask %s", mask)
		}
		if svc.Engine != "" {
			fmt.Fprintf(&b, " pe %s", svc.Engine)
		}
	}
	if svc.Flags&ipvs.OnePacket != 0 {
		b.WriteString(" ops")
	}
	return b.String()
}

// listConns prints the connections as they come.
func (s *session) listConns(given optionSet) error {
	fmt.Fprintln(s.out, "IPVS connection entries")
	title := "pro expire state       source             virtual            destination"
	if given&persistentConn != 0 {
		title += "        pe name          pe_data"
	}
	fmt.Fprintln(s.out, title)
	var line []byte
	return s.director.Conns(func(c ipvs.Conn) error {
		line = s.appendConn(line[:0], c, given)
		_, err := s.out.Write(line)
		return err
	})
}

// appendConn appends a connection's line without fmt, which would take most of
// the time that a million of them take.
func (s *session) appendConn(b []byte, c ipvs.Conn, given optionSet) []byte {
	seconds := int64(c.Expires.Seconds())
	b = appendPadded(b, c.Protocol.String(), 3)
	b = appendTwoDigits(append(b, ' '), seconds/60)
	b = appendTwoDigits(append(b, ':'), seconds%60)
	b = appendPadded(append(b, "  "...), c.State, 11)
	width := 0
	if given&persistentConn != 0 && c.EngineData != "" {
		width = 16
	}
	b = s.appendEndpoint(append(b, ' '), c.CIP, c.Protocol, given, 18)
	b = s.appendEndpoint(append(b, ' '), c.VIP, c.Protocol, given, 18)
	b = s.appendEndpoint(append(b, ' '), c.RIP, c.Protocol, given, width)
	if width > 0 {
		b = append(appendPadded(append(b, ' '), c.Engine, 18), ' ')
		b = append(b, c.EngineData...)
	}
	return append(b, '\n')
}

func (s *session) appendEndpoint(b []byte, a netip.AddrPort, proto ipvs.Protocol, given optionSet, width int) []byte {
	if given&numeric == 0 {
		return appendPadded(b, s.names.endpoint(a, proto, false), width)
	}
	start := len(b)
	return pad(a.AppendTo(b), start+width)
}

func appendPadded(b []byte, text string, width int) []byte {
	start := len(b)
	return pad(append(b, text...), start+width)
}

// pad fills with spaces up to a length.
func pad(b []byte, length int) []byte {
	for len(b) < length {
		b = append(b, ' ')
	}
	return b
}

func appendTwoDigits(b []byte, n int64) []byte {
	if n < 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, n, 10)
}
