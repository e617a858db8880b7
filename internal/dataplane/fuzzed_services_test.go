// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
)

// The services that fuzzed packets are sent to, one for each method and for
// each thing that can be the matter with a server.
var (
	natVIP       = netip.MustParseAddrPort("10.0.0.80:80")
	tunnelVIP    = netip.MustParseAddrPort("10.0.0.81:80")
	routeVIP     = netip.MustParseAddrPort("10.0.0.82:80")
	emptyVIP     = netip.MustParseAddrPort("10.0.0.83:80")
	goneVIP      = netip.MustParseAddrPort("10.0.0.84:80") // its server is removed after it got connections
	onceVIP      = netip.MustParseAddrPort("10.0.0.85:53")
	noRouteVIP   = netip.MustParseAddrPort("10.0.0.86:80")
	localVIP     = netip.MustParseAddrPort("10.0.0.87:80")
	localServer  = addrPort(192, 168, 1, 22, 8080)
	silentVIP    = netip.MustParseAddrPort("10.0.0.88:80") // its server's neighbour does not answer
	smallVIP     = netip.MustParseAddrPort("10.0.0.89:80") // the way to its server has an MTU of 1280
	killedVIP    = netip.MustParseAddrPort("10.0.0.90:80") // its connections are killed now and then
	toldVIP      = netip.MustParseAddrPort("10.0.0.91:80") // as goneVIP, but its clients are told
	sipVIP       = netip.MustParseAddrPort("10.0.0.92:5060")
	noPortVIP    = netip.MustParseAddrPort("10.0.0.93:80")  // the interface to its server does not send
	fillingVIP   = netip.MustParseAddrPort("10.0.0.94:80")  // the connections of a full table
	shimVIP      = netip.MustParseAddrPort("10.0.0.95:80")  // its tunnels have GRE or GUE between the headers
	markedVIP    = netip.MustParseAddrPort("10.0.0.128:80") // and fifteen more addresses are one service
	natServer    = netip.MustParseAddrPort("192.168.1.11:8080")
	otherServer  = netip.MustParseAddrPort("192.168.1.12:8080")
	killedServer = netip.MustParseAddrPort("192.168.1.18:8080")
	router       = netip.MustParseAddr("172.16.255.1")
)

// fuzzedTable are the commands that make the services.
var fuzzedTable = []string{
	"-A -t 10.0.0.80:80 -s wlc", "-a -t 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -t 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a -u 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A --sctp-service 10.0.0.80:80 -s wlc", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:8080 -m", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.12:8080 -m",
	"-A -t 10.0.0.81:80 -s sh -b sh-port", "-a -t 10.0.0.81:80 -r 192.168.1.13 -i", "-a -t 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -u 10.0.0.81:80 -s mh", "-a -u 10.0.0.81:80 -r 192.168.1.13 -i", "-a -u 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A --sctp-service 10.0.0.81:80 -s mh -b mh-port", "-a --sctp-service 10.0.0.81:80 -r 192.168.1.13 -i", "-a --sctp-service 10.0.0.81:80 -r 192.168.1.14 -i",
	"-A -t 10.0.0.82:80 -s wrr", "-a -t 10.0.0.82:80 -r 192.168.1.15 -g -w 3", "-a -t 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -u 10.0.0.82:80 -s lblc", "-a -u 10.0.0.82:80 -r 192.168.1.15 -g", "-a -u 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A --sctp-service 10.0.0.82:80 -s rr", "-a --sctp-service 10.0.0.82:80 -r 192.168.1.15 -g", "-a --sctp-service 10.0.0.82:80 -r 192.168.1.16 -g",
	"-A -t 10.0.0.83:80 -s rr", "-A -u 10.0.0.83:80 -s wlc", "-A --sctp-service 10.0.0.83:80 -s wlc",
	"-A -t 10.0.0.84:80 -s rr", "-a -t 10.0.0.84:80 -r 192.168.1.17:80 -m", "-A -u 10.0.0.84:80 -s rr", "-a -u 10.0.0.84:80 -r 192.168.1.17:80 -g",
	"-A -u 10.0.0.85:53 -s rr -o", "-a -u 10.0.0.85:53 -r 192.168.1.11:53 -m", "-a -u 10.0.0.85:53 -r 192.168.1.15 -g", "-a -u 10.0.0.85:53 -r 192.168.1.13 -i",
	"-A -t 10.0.0.86:80 -s rr", "-a -t 10.0.0.86:80 -r 192.168.1.21 -g",
	"-A -t 10.0.0.87:80 -s rr", "-a -t 10.0.0.87:80 -r 192.168.1.22 -g", "-A -u 10.0.0.87:80 -s rr", "-a -u 10.0.0.87:80 -r 192.168.1.22:8080 -m",
	"-A -t 10.0.0.88:80 -s rr", "-a -t 10.0.0.88:80 -r 192.168.1.23 -g", "-A -u 10.0.0.88:80 -s rr", "-a -u 10.0.0.88:80 -r 192.168.1.23 -m",
	"-A -t 10.0.0.89:80 -s rr", "-a -t 10.0.0.89:80 -r 192.168.1.24 -i", "-A -u 10.0.0.89:80 -s rr", "-a -u 10.0.0.89:80 -r 192.168.1.24 -m",
	"-A --sctp-service 10.0.0.89:80 -s rr", "-a --sctp-service 10.0.0.89:80 -r 192.168.1.24 -m", // the same port: fragments go on, too
	"-A -t 10.0.0.90:80 -s rr", "-a -t 10.0.0.90:80 -r 192.168.1.18:8080 -m", "-a -t 10.0.0.90:80 -r 192.168.1.13 -i", "-A -u 10.0.0.90:80 -s rr", "-a -u 10.0.0.90:80 -r 192.168.1.18:8080 -m",
	"-A -t 10.0.0.91:80 -s rr", "-a -t 10.0.0.91:80 -r 192.168.1.19 -g", "-A -u 10.0.0.91:80 -s rr", "-a -u 10.0.0.91:80 -r 192.168.1.19 -g",
	"-A -u 10.0.0.92:5060 -s rr -p 60 --pe sip", "-a -u 10.0.0.92:5060 -r 192.168.1.11:5060 -m", "-a -u 10.0.0.92:5060 -r 192.168.1.12:5060 -m",
	"-A -t 10.0.0.93:80 -s rr", "-a -t 10.0.0.93:80 -r 192.168.1.25 -g", "-a -t 10.0.0.93:80 -r 192.168.1.25:8080 -m", "-A -u 10.0.0.93:80 -s rr", "-a -u 10.0.0.93:80 -r 192.168.1.25 -i",
	"-A -t 10.0.0.94:80 -s rr", "-a -t 10.0.0.94:80 -r 192.168.1.15 -g",
	"-A -t 10.0.0.95:80 -s rr", "-a -t 10.0.0.95:80 -r 192.168.1.26 -i --tun-type gre", "-a -t 10.0.0.95:80 -r 192.168.1.27 -i --tun-type gue --tun-port 6080",
	"-A -u 10.0.0.95:80 -s rr", "-a -u 10.0.0.95:80 -r 192.168.1.28 -i --tun-type gre --tun-csum", "-a -u 10.0.0.95:80 -r 192.168.1.29 -i --tun-type gue --tun-port 6081 --tun-csum",
	"-A --sctp-service 10.0.0.95:80 -s rr", "-a --sctp-service 10.0.0.95:80 -r 192.168.1.27 -i --tun-type gue --tun-port 6080 --tun-remcsum",
}

// fuzzedMarks are the commands for a service of many addresses.
var fuzzedMarks = []string{
	"ipvsadm -A -f 7 -s rr -p 60", "ipvsadm -a -f 7 -r 192.168.1.15:0 -g", "ipvsadm -a -f 7 -r 192.168.1.11:8080 -m",
	"ipvsadm -A -f 7 -6 -s wlc", "ipvsadm -a -f 7 -6 -r [2001:db8:1::15]:0 -g", "ipvsadm -a -f 7 -6 -r [2001:db8:1::11]:8080 -m",
	"lvsx mark add --vip 10.0.0.128/28 --mark 7", "lvsx mark add --vip 10.0.0.129 --proto tcp --ports 81 --mark 8",
	"ipvsadm -A -f 9 -s rr", "ipvsadm -A -f 9 -6 -s rr -p 60",
	"lvsx mark add --vip 10.0.0.80/31 --ports 9000-9999 --mark 9", "lvsx mark add --vip 2001:db8::80/127 --ports 9000-9999 --mark 9",
	"lvsx mark add --vip 2001:db8::100/120 --ports 80-8080 --mark 7",
}

// fuzzedTable6 are those of the same services in IPv6, and servers of the other
// family behind tunnels.
func fuzzedTable6() []string {
	lines := []string{
		"-a -t 10.0.0.81:80 -r [2001:db8:1::14] -i", "-a -u 10.0.0.81:80 -r [2001:db8:1::14] -i",
		"-a -u 10.0.0.87:80 -r 127.0.0.1:80 -m",
	}
	for _, line := range fuzzedTable {
		words := strings.Fields(line)
		for i, word := range words {
			if a, err := netip.ParseAddrPort(word); err == nil {
				words[i] = inIPv6(a).String()
			} else if a, err := netip.ParseAddr(word); err == nil {
				words[i] = "[" + inIPv6(netip.AddrPortFrom(a, 0)).Addr().String() + "]"
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	lines = append(lines, "-a -t 10.0.0.95:80 -r [2001:db8:1::26] -i --tun-type gre", "-a -u 10.0.0.95:80 -r [2001:db8:1::27] -i --tun-type gue --tun-port 6080 --tun-csum",
		"-a -t [2001:db8::95]:80 -r 192.168.1.28 -i --tun-type gre --tun-csum", "-a -u [2001:db8::95]:80 -r 192.168.1.29 -i --tun-type gue --tun-port 6081")
	return append(lines, "-a -t [2001:db8::81]:80 -r 192.168.1.14 -i", "-a -u [2001:db8::81]:80 -r 192.168.1.14 -i")
}

// inIPv6 returns the IPv6 address that stands for an IPv4 one: 10.0.0.80 is
// 2001:db8::80, 192.168.1.11 is 2001:db8:1::11, the rest is 2001:db8:c::.
func inIPv6(a netip.AddrPort) netip.AddrPort {
	b := a.Addr().As4()
	text := fmt.Sprintf("2001:db8:c::%d:%d:%d", b[1], b[2], b[3])
	switch b[0] {
	case 10:
		text = fmt.Sprintf("2001:db8::%d", b[3])
	case 192:
		text = fmt.Sprintf("2001:db8:1::%d", b[3])
	}
	return netip.AddrPortFrom(netip.MustParseAddr(text), a.Port())
}
