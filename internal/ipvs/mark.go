// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MarkRule gives packets to VIPs a firewall mark, which the services of marks
// (-f) take.
//
// Of the rules that fit a packet the most specific counts: the longest prefix,
// then a rule that names a protocol, then the fewest ports.
type MarkRule struct {
	VIP      netip.Prefix `json:"vip"`
	Protocol Protocol     `json:"protocol,omitempty"` // 0: each of those that services have
	Ports    PortRange    `json:"ports"`
	Mark     uint32       `json:"mark"`
}

// String returns the rule as the options of lvsx mark add.
func (r MarkRule) String() string {
	text := "--vip " + VIPText(r.VIP)
	if r.Protocol != 0 {
		text += " --proto " + strings.ToLower(r.Protocol.String())
	}
	if r.Ports != AllPorts {
		text += " --ports " + r.Ports.String()
	}
	return fmt.Sprintf("%s --mark %d", text, r.Mark)
}

// VIPText returns a network as a user writes it, one address without its length.
func VIPText(vip netip.Prefix) string {
	if vip.IsSingleIP() {
		return vip.Addr().String()
	}
	return vip.String()
}

// ParseMarkVIP reads an address or a network: 192.0.2.1, 2001:db8::/64.
func ParseMarkVIP(text string) (netip.Prefix, error) {
	if vip, err := netip.ParseAddr(text); err == nil && vip.Zone() == "" {
		return netip.PrefixFrom(vip, vip.BitLen()), nil
	}
	vip, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("VIP %q: not an address (192.0.2.1) or a network (192.0.2.0/24)", text)
	}
	return vip, nil
}

// Check says what is wrong with a rule by itself.
func (r MarkRule) Check() error {
	switch vip := r.VIP; {
	case !vip.IsValid() || vip.Addr().Is4In6():
		return fmt.Errorf("VIP %s: neither an IPv4 nor an IPv6 address or network", vip)
	case vip != vip.Masked():
		return fmt.Errorf("VIP %s: a network begins at %s; for one address leave out /%d", vip, vip.Masked(), vip.Bits())
	case r.Protocol != 0 && !slices.Contains(Protocols[:], r.Protocol):
		return fmt.Errorf("protocol %s: not one of tcp, udp, sctp", r.Protocol)
	case r.Ports == PortRange{}:
		return errors.New("ports 0: no service is there; name others, or 0-65535 for all")
	case r.Ports.Last < r.Ports.First:
		return fmt.Errorf("ports %s: the last comes before the first", r.Ports)
	case r.Mark == 0:
		return errors.New("mark 0: it is that of packets without a mark; take one from 1 to 4294967295")
	}
	return nil
}

// PortRange is the ports from First to Last, both included.
type PortRange struct {
	First, Last uint16
}

// AllPorts are those of a rule that names none.
var AllPorts = PortRange{0, 65535}

// ParsePortRange reads one port or a range: 80, 8000-8100.
func ParsePortRange(text string) (PortRange, error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err := parsePort(from)
	if err != nil {
		return PortRange{}, fmt.Errorf("ports %q: %w", text, err)
	}
	last, err := parsePort(to)
	if err != nil {
		return PortRange{}, fmt.Errorf("ports %q: %w", text, err)
	}
	if last < first {
		return PortRange{}, fmt.Errorf("ports %q: the last comes before the first", text)
	}
	return PortRange{first, last}, nil
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || strings.HasPrefix(text, "+") {
		return 0, fmt.Errorf("%q is no port from 0 to 65535", text)
	}
	return uint16(port), nil
}

// ParsePorts reads a list of ports and ranges, separated by commas. The empty
// text is all ports.
func ParsePorts(text string) ([]PortRange, error) {
	if text == "" {
		return []PortRange{AllPorts}, nil
	}
	var ranges []PortRange
	for part := range strings.SplitSeq(text, ",") {
		r, err := ParsePortRange(part)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// String returns what ParsePortRange reads.
func (p PortRange) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// MarshalText implements encoding.TextMarshaler.
func (p PortRange) MarshalText() ([]byte, error) {
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PortRange) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePortRange(string(text))
	return err
}

func (p PortRange) contains(o PortRange) bool {
	return p.First <= o.First && o.Last <= p.Last
}

func (p PortRange) overlaps(o PortRange) bool {
	return p.First <= o.Last && o.First <= p.Last
}

// compare puts a range before those inside it.
func (p PortRange) compare(o PortRange) int {
	return cmp.Or(cmp.Compare(p.First, o.First), cmp.Compare(o.Last, p.Last))
}
