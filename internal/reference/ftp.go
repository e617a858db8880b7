// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// What the two ends of an FTP control connection say of data connections
// (RFC 959, section 4.1.2; RFC 2428), at the beginning of a line.
var (
	ftpReply   = regexp.MustCompile(`(?m)^227 .*?(\(?)(\d+,\d+,\d+,\d+),(\d+),(\d+)[^\d]|^229 .*?\(([!-~])`)
	ftpCommand = regexp.MustCompile(`(?mi)^port .*?(\(?)(\d+,\d+,\d+,\d+),(\d+),(\d+)[^\d]|^eprt *([!-~])`)
)

// ftpPort is where control connections go; data comes from the port below.
const ftpPort = 21

// lowestDataPort is net.ipv4.ip_unprivileged_port_start.
const lowestDataPort = 1024

// bytesHeard are those at a segment's end that are listened to.
const bytesHeard = 512

// overhear reads what a NAT connection's segment says, as it leaves, and enters
// the data connection that is to come (ip_vs_ftp.c: ip_vs_ftp_in, ip_vs_ftp_out).
// An address of the real server's becomes the VIP's within the line's length.
func (d *Director) overhear(c *conn, ip []byte, header int, fromServer bool) {
	if c.proto != ipvs.TCP || c.virtual.Port() != ftpPort || c.state != Established || isFragment(ip) {
		return
	}
	l4 := ip[header:]
	offset := int(l4[12]>>4) * 4
	if offset >= len(l4) {
		return
	}
	said := l4[max(offset, len(l4)-bytesHeard):]
	first := 0 // a line that began before is not understood
	if len(l4)-offset > bytesHeard {
		first = bytes.IndexByte(said, '\n') + 1
		if first == 0 {
			return
		}
	}
	line, port := findDataPort(said[first:], fromServer)
	if port < lowestDataPort || port > 65535 {
		return
	}
	virtual, server := netip.AddrPortFrom(c.virtual.Addr(), uint16(port)), netip.AddrPortFrom(c.server.Addr(), uint16(port))
	client := netip.AddrPortFrom(c.client.Addr(), 0)
	if !fromServer {
		client = netip.AddrPortFrom(c.client.Addr(), uint16(port))
		virtual = netip.AddrPortFrom(c.virtual.Addr(), c.server.Port()-1)
		server = netip.AddrPortFrom(c.server.Addr(), c.server.Port()-1)
	} else if line.address != nil && !is6(ip) {
		readdress(l4, offset, line, c.virtual.Addr())
	}
	d.expect(c, flow{ipvs.TCP, client, virtual}, server)
}

// dataLine is a line that names an address: what is before it, and it.
type dataLine struct{ words, address []byte }

// findDataPort returns the port that a line tells of, 0 if none does.
func findDataPort(said []byte, fromServer bool) (line dataLine, port int) {
	pattern := ftpCommand
	if fromServer {
		pattern = ftpReply
	}
	m := pattern.FindSubmatchIndex(said)
	if m == nil {
		return line, 0
	}
	if m[4] < 0 {
		return line, portBetweenBars(said[m[10]:])
	}
	var numbers []int
	for text := range strings.SplitSeq(string(said[m[4]:m[9]]), ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n > 255 || len(text) > 3 {
			return line, 0
		}
		numbers = append(numbers, n)
	}
	return dataLine{said[m[0]:m[4]], said[m[4]:m[5]]}, numbers[4]<<8 | numbers[5]
}

// portBetweenBars reads |net|address|port|, whatever the bar.
func portBetweenBars(text []byte) int {
	text, _, _ = bytes.Cut(text, []byte("\n"))
	parts := bytes.SplitN(text, text[:1], 5)
	if len(parts) < 5 {
		return 0
	}
	port, err := strconv.ParseUint(string(parts[3]), 10, 32)
	if err != nil || len(parts[3]) > 7 {
		return 0
	}
	return int(port)
}

// readdress puts the VIP in place of a line's address: words before it give way,
// or spaces fill what is left. Without words enough the line stays as it is.
func readdress(l4 []byte, offset int, line dataLine, vip netip.Addr) {
	said := slices.Clone(l4[offset:])
	words, paren := bytes.CutSuffix(line.words, []byte("("))
	text := strings.ReplaceAll(vip.String(), ".", ",")
	if paren {
		text = "(" + text
	}
	size := len(line.words) + len(line.address)
	room := size - len(text)
	if room < len("227 ") {
		return
	}
	changed := append(bytes.Clone(words[:min(room, len(words))]), bytes.Repeat([]byte(" "), max(0, room-len(words)))...)
	copy(line.words[:size:size], append(changed, text...))
	odd := len(said) % 2
	update(l4[16:18], append(said, make([]byte, odd)...), append(slices.Clone(l4[offset:]), make([]byte, odd)...))
}

// expect enters a data connection in state LISTEN (ip_vs_conn_listen). One that
// is there already is kept, if it is of the same real server.
func (d *Director) expect(teller *conn, f flow, server netip.AddrPort) {
	if c := d.conns.in[f]; c != nil {
		if c.dest == teller.dest {
			return
		}
		d.end(c)
	}
	c := &conn{flow: f, server: server, dest: teller.dest, mac: teller.mac, method: ipvs.Masq, state: Listen, teller: &teller.flow}
	c.expires = d.now + uint64(d.Ticks(d.timeouts[Listen]))
	c.dest.bind()
	d.conns.add(c)
}

// expected is the choice for a client that comes to a port that it was told of.
func (d *Director) expected(f flow) (to choice, ok bool) {
	c := d.conns.in[flow{f.proto, netip.AddrPortFrom(f.client.Addr(), 0), f.virtual}]
	wild := func(s *service) bool { return s.VIP.Port() == ftpPort || s.VIP.Port() == 0 }
	if f.proto != ipvs.TCP || c == nil || c.teller == nil || !slices.ContainsFunc(d.services, wild) {
		return to, false
	}
	to = choice{dest: c.dest, port: c.server.Port(), teller: c.teller}
	d.end(c)
	return to, true
}

// keepTellers lets control connections live while their data connections do: one
// that is nearly over gets a minute more (ip_vs_conn_expire), unless it was killed.
func (d *Director) keepTellers() {
	minute := uint64(d.Ticks(postponement))
	for _, c := range d.conns.in {
		if c.teller == nil {
			continue
		}
		teller := d.conns.in[*c.teller]
		if teller == nil || teller.dest != c.dest || teller.state == Killed {
			continue
		}
		if teller.expires-d.now < minute {
			teller.expires = d.now + minute
		}
	}
}
