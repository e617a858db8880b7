// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvsadm"
	"github.com/lvsx/lvsx/internal/reference"
)

// A script is a story for a pair, one step a line:
//
//	ipvsadm -A -t 10.0.0.80:80 -s rr        a command
//	out tcp 10.0.0.1:40000 10.0.0.80:80 S   a packet that the director itself sends
//	front tcp 172.16.0.5:40000 10.0.0.80:80 S  one in a front's tunnel
//	lvsx connections kill --client 172.16.0.5  one of our own
//	tcp 172.16.0.5:40000 10.0.0.80:80 S     a segment, with its flags
//	udp 172.16.0.5:40000 10.0.0.80:53       a datagram
//	sctp 172.16.0.5:40000 10.0.0.80:80 1,0  an SCTP packet, with its chunks' types
//	icmp 3 4 1400 192.168.1.11 172.16.0.5 tcp 172.16.0.5:40000 192.168.1.11:80
//	                                        an error: type, code, MTU, ends, and the ends of what it is about
//	wait 10s
//	dice 12345                              what the next throw shows
//	defend 7                                the table is looked at as drop_entry does, by the dice of that number
//	set sloppy_tcp 1                        a setting
//	icmp-limit 100 5                        ICMP errors that are sent in a second, and at once
//	fronts 0                                there are none
//	compare                                 listings and counters of both
//
// The last words of a packet may be "ttl N", "length N" of the payload, "call N"
// for a Call-ID in a datagram, "nodf", and of a segment "say LINE", with _ for
// spaces.

// play makes one step and says what the two did differently.
func (p *pair) play(line string) string {
	words := strings.Fields(line)
	switch words[0] {
	case "ipvsadm":
		return p.command(line)
	case "lvsx":
		return p.lvsx(words)
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err.Error()
		}
		p.passBoth(p.clock.ticks(d))
		return ""
	case "dice":
		n, err := strconv.ParseUint(words[1], 10, 32)
		p.throwBoth(uint32(n))
		return errorText(err)
	case "defend":
		seed, err := strconv.ParseUint(words[1], 10, 64)
		p.defendBoth(seed)
		return errorText(err)
	case "set":
		return p.set(words[1], words[2])
	case "fronts":
		return errorText(p.haveFronts(words[1] != "0"))
	case "icmp-limit":
		return p.limitBoth(words[1:])
	case "compare":
		return p.compare()
	}
	_, wrong := p.send(words)
	return wrong
}

// send sends the packet that a line describes through both.
func (p *pair) send(words []string) (verdict reference.Verdict, wrong string) {
	by, words := cutSender(words)
	frame, err := parsePacket(words)
	switch {
	case err != nil:
		return "", err.Error()
	case by == bySelf:
		return p.bothOut(frame)
	case by == byFronts:
		return p.both(inFrontsTunnel(frame))
	}
	return p.both(frame)
}

// sender is who sends a packet, if not who it is from: the director itself, or a
// front, in a tunnel.
type sender string

const (
	bySelf   sender = "out"
	byFronts sender = "front"
)

// cutSender reads who sends a packet.
func cutSender(words []string) (by sender, rest []string) {
	if by = sender(words[0]); by == bySelf || by == byFronts {
		return by, words[1:]
	}
	return "", words
}

// put puts it in front of a packet.
func (by sender) put(packet string) string { return strings.TrimSpace(string(by) + " " + packet) }

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// command runs ipvsadm on both.
func (p *pair) command(line string) string {
	p.wrong = ""
	p.runIPVSADM(bothDirectors{p}, line)
	p.resolveBoth()
	return p.wrong
}

// set changes a setting of both.
func (p *pair) set(name, value string) string {
	n, err := strconv.Atoi(value)
	if err != nil {
		return err.Error()
	}
	settings := &p.model.Settings
	switch name {
	case "conn_reuse_mode":
		settings.ConnReuseMode = n
	case "sloppy_tcp":
		settings.SloppyTCP = n != 0
	case "sloppy_sctp":
		settings.SloppySCTP = n != 0
	case "expire_quiescent_template":
		settings.ExpireQuiescentTemplate = n != 0
	case "drop_entry":
		settings.DropEntry = n == 3
	case "cache_bypass":
		settings.CacheBypass = n != 0
	case "schedule_icmp":
		settings.ScheduleICMP = n != 0
	case "nat_icmp_send":
		settings.NATICMPSend = n != 0
	case "am_droprate":
		p.dropRate = n
	case "drop_packet":
		p.dropping = n == 3
	case "expire_nodest_conn":
		settings.ExpireNodestConn = n != 0
	case "secure_tcp":
		settings.SecureTCP = n == 3
	default:
		return "the model does not know setting " + name
	}
	settings.DropRate = 0
	if p.dropping {
		settings.DropRate = p.dropRate
	}
	return errorText(p.Set(name, value))
}

// limitBoth says how many ICMP errors both may send.
func (p *pair) limitBoth(words []string) string {
	var rate, burst uint32
	if _, err := fmt.Sscan(strings.Join(words, " "), &rate, &burst); err != nil {
		return err.Error()
	}
	p.model.Settings.ICMPRate, p.model.Settings.ICMPBurst = rate, burst
	p.SetICMPLimit(rate, burst)
	return ""
}

// defaultSettings are what every story begins with.
var defaultSettings = []string{
	"set conn_reuse_mode 1", "set sloppy_tcp 0", "set sloppy_sctp 0", "set nat_icmp_send 0", "set schedule_icmp 0", "icmp-limit 0 0",
	"set expire_quiescent_template 0", "set expire_nodest_conn 0", "set secure_tcp 0",
	"fronts 1", "set am_droprate 10", "set drop_packet 0", "set drop_entry 0", "set cache_bypass 0",
}

// runIPVSADM returns what a command line prints with a director.
func (p *pair) runIPVSADM(director ipvsadm.Director, line string) string {
	var out bytes.Buffer
	program := &ipvsadm.Program{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Open: func() (ipvsadm.Director, error) { return director, nil },
	}
	program.Run(strings.Fields(line))
	return out.String()
}

// compare compares what ipvsadm lists of both, and connections to the tick.
func (p *pair) compare() string {
	for _, list := range []string{"ipvsadm -L -n", "ipvsadm -L -n --stats --exact", "ipvsadm -L -n --persistent-conn", "ipvsadm -L -n -c"} {
		want, got := p.runIPVSADM(modelDirector{p.model}, list), p.runIPVSADM(p, list)
		if strings.HasSuffix(list, "-c") {
			want, got = sortLines(want), sortLines(got)
		}
		if want != got {
			return list + " (-want +got):\n" + cmp.Diff(want, got)
		}
	}
	return ""
}

func sortLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// parsePacket makes the frame that a line describes. Real servers are known by
// their network.
func parsePacket(words []string) ([]byte, error) {
	ip, err := parseIP(words)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return frame(sideOf(sourceOf(ip)), ip), nil
}

func sourceOf(ip []byte) netip.Addr {
	if ip[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(ip[8:]))
	}
	return netip.AddrFrom4([4]byte(ip[12:]))
}

func sideOf(a netip.Addr) net.HardwareAddr {
	for _, servers := range []string{"192.168.0.0/16", "2001:db8:1::/48"} {
		if netip.MustParsePrefix(servers).Contains(a) {
			return serverMAC(numberOf(a))
		}
	}
	return clientMAC
}

func parseIP(words []string) ([]byte, error) {
	if words[0] == "icmp" && len(words) > 6 {
		return parseError(words)
	}
	if len(words) < 3 {
		return nil, fmt.Errorf("not a step")
	}
	src, err := netip.ParseAddrPort(words[1])
	if err != nil {
		return nil, err
	}
	dst, err := netip.ParseAddrPort(words[2])
	if err != nil {
		return nil, err
	}
	rest, kind := words[3:], ""
	if (words[0] == "tcp" || words[0] == "sctp") && len(rest) > 0 {
		kind, rest = strings.Trim(rest[0], "-"), rest[1:]
	}
	var line []byte
	if at := slices.Index(rest, "say"); at >= 0 && at+1 < len(rest) {
		line = []byte(strings.ReplaceAll(rest[at+1], "_", " ") + "\r\n")
		rest = slices.Delete(slices.Clone(rest), at, at+2)
	}
	options, err := parseOptions(rest)
	if err != nil {
		return nil, err
	}
	var ip []byte
	switch words[0] {
	case "tcp":
		ip = tcp(src, dst, kind, append(make([]byte, options["length"]), line...)...)
	case "udp":
		payload := make([]byte, options["length"])
		if call := options["call"]; call > 0 {
			payload = fmt.Appendf(nil, "INVITE sip:bob@example.test SIP/2.0\r\nCall-ID: %d@example.test\r\n\r\n%s", call, payload)
		}
		ip = udp(src, dst, payload...)
	case "sctp":
		ip = sctp(src, dst, parseChunks(kind, options["length"])...)
	default:
		return nil, fmt.Errorf("not a step")
	}
	return options.put(ip), nil
}

// parseChunks makes chunks of the types named, the first with so many bytes behind
// its header.
func parseChunks(types string, length int) (chunks [][]byte) {
	for kind := range strings.SplitSeq(types, ",") {
		if n, err := strconv.ParseUint(kind, 10, 8); err == nil {
			chunks = append(chunks, chunk(byte(n), 4+length))
			length = 0
		}
	}
	return chunks
}

// packetOptions are the numbers behind a packet's ends.
type packetOptions map[string]int

func parseOptions(words []string) (packetOptions, error) {
	options := packetOptions{"ttl": 64}
	for len(words) > 0 {
		if words[0] == "nodf" {
			options["nodf"] = 1
			words = words[1:]
			continue
		}
		if len(words) < 2 {
			return nil, fmt.Errorf("%s: no such option", words[0])
		}
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return nil, err
		}
		options[words[0]] = n
		words = words[2:]
	}
	return options, nil
}

func (o packetOptions) put(ip []byte) []byte {
	if ip[0]>>4 == 6 {
		ip[7] = byte(o["ttl"])
		return ip
	}
	return with(ip, func(ip []byte) {
		ip[8] = byte(o["ttl"])
		if o["nodf"] > 0 {
			ip[6] &^= 0x40
		}
	})
}

// parseError makes an ICMP error. One about "ipip" quotes a tunnel packet of the
// director's to where the error comes from.
func parseError(words []string) ([]byte, error) {
	var numbers [3]int
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.Atoi(words[1+i]); err != nil {
			return nil, err
		}
	}
	src, err := netip.ParseAddr(words[4])
	if err != nil {
		return nil, err
	}
	dst, err := netip.ParseAddr(words[5])
	if err != nil {
		return nil, err
	}
	about := words[6:]
	tunnelled := about[0] == "ipip"
	if tunnelled {
		about = about[1:]
	}
	quoted, err := parseIP(about)
	if err != nil {
		return nil, err
	}
	if tunnelled {
		quoted = wrapped(dst, src, quoted)
	}
	return icmpError(src, dst, byte(numbers[0]), byte(numbers[1]), uint16(numbers[2]), quoted), nil
}

// wrapped is a tunnel packet.
func wrapped(src, dst netip.Addr, inner []byte) []byte {
	kind := byte(4)
	if inner[0]>>4 == 6 {
		kind = 41
	}
	return ip(src, dst, kind, inner)
}
