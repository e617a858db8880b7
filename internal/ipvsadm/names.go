// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// dnsPatience is how long one question to DNS may take.
const dnsPatience = 5 * time.Second

// names turns hosts and ports into names and back, by the files that the C
// library reads and then by DNS. The files are read when first needed.
type names struct {
	hosts, services string // paths
	dns             *net.Resolver

	hostLines, serviceLines [][]string // words of each line; nil: not yet read
}

// fields returns the words of each line of a file, without comments. A file that
// cannot be read has no lines, as in the C library.
func fields(path string) [][]string {
	lines := [][]string{}
	f, err := os.Open(path)
	if err != nil {
		return lines
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		text, _, _ := strings.Cut(scan.Text(), "#")
		if words := strings.Fields(text); len(words) >= 2 {
			lines = append(lines, words)
		}
	}
	return lines
}

func (n *names) hostFile() [][]string {
	if n.hostLines == nil {
		n.hostLines = fields(n.hosts)
	}
	return n.hostLines
}

func (n *names) serviceFile() [][]string {
	if n.serviceLines == nil {
		n.serviceLines = fields(n.services)
	}
	return n.serviceLines
}

// lookup returns the first IPv4 address of a name; ipvsadm asks for no others.
func (n *names) lookup(name string) (netip.Addr, bool) {
	if name == "" {
		return netip.Addr{}, false
	}
	for _, line := range n.hostFile() {
		addr, err := netip.ParseAddr(line[0])
		if err != nil || !addr.Is4() {
			continue
		}
		if slices.ContainsFunc(line[1:], func(alias string) bool { return strings.EqualFold(alias, name) }) {
			return addr, true
		}
	}
	if n.dns == nil {
		return netip.Addr{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), dnsPatience)
	defer cancel()
	found, err := n.dns.LookupNetIP(ctx, "ip4", name)
	if err != nil || len(found) == 0 {
		return netip.Addr{}, false
	}
	return found[0].Unmap(), true
}

// host returns the name of an address, or the address where it has none.
func (n *names) host(addr netip.Addr) string {
	for _, line := range n.hostFile() {
		if a, err := netip.ParseAddr(line[0]); err == nil && a == addr {
			return line[1]
		}
	}
	if n.dns == nil {
		return addr.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), dnsPatience)
	defer cancel()
	found, err := n.dns.LookupAddr(ctx, addr.String())
	if err != nil || len(found) == 0 {
		return addr.String()
	}
	return strings.TrimSuffix(found[0], ".")
}

// suffix is the protocol in the services file. ipvsadm asks for TCP and UDP only.
func suffix(proto ipvs.Protocol) string {
	switch proto {
	case ipvs.TCP:
		return "/tcp"
	case ipvs.UDP:
		return "/udp"
	}
	return ""
}

// port returns the number of a service, by its name or an alias.
func (n *names) port(name string, proto ipvs.Protocol) (int64, bool) {
	for _, line := range n.serviceFile() {
		value, ok := strings.CutSuffix(line[1], suffix(proto))
		if suffix(proto) == "" || !ok {
			continue
		}
		if line[0] == name || slices.Contains(line[2:], name) {
			return number(value, 0, 65535)
		}
	}
	return 0, false
}

// service returns the name of a port, or its number where it has none.
func (n *names) service(port uint16, proto ipvs.Protocol) string {
	entry := fmt.Sprint(port, suffix(proto))
	for _, line := range n.serviceFile() {
		if suffix(proto) != "" && line[1] == entry {
			return line[0]
		}
	}
	return fmt.Sprint(port)
}

// endpointLimit is the size of the buffer in which ipvsadm puts host and port
// together; longer names lose their end.
const endpointLimit = 59

// endpoint returns address and port for a listing, as names unless numeric.
func (n *names) endpoint(a netip.AddrPort, proto ipvs.Protocol, numeric bool) string {
	if numeric {
		return a.String()
	}
	host := n.host(a.Addr())
	if a.Addr().Is6() {
		host = "[" + host + "]"
	}
	return truncate(host+":"+n.service(a.Port(), proto), endpointLimit)
}

func truncate(s string, length int) string {
	if len(s) > length {
		return s[:length]
	}
	return s
}
