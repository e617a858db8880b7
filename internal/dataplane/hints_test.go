// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"
)

// What packets found before is asked no more once it is configured otherwise.
func TestServiceHintsAreCompared(t *testing.T) {
	const one, other = "10.0.0.80:80", "10.0.0.81:80"
	b := newBench(t)
	clients := 0
	check := func(service, verdict string, server byte) {
		t.Helper()
		for range 2 { // the first leaves a hint, if there is none yet
			clients++
			o := b.send(clientMAC, tcp(clientNumber(clients), netip.MustParseAddrPort(service), "S"))
			if o.verdict != verdict || verdict == "route" && o.mac.String() != serverMAC(server).String() {
				t.Errorf("to %s: %s to %s, want %s by server %d", service, o.verdict, o.mac, verdict, server)
			}
		}
	}
	add := func(service, server string) {
		b.apply("-A -t "+service+" -s rr", "-a -t "+service+" -r 192.168.1."+server+" -g")
	}
	add(one, "11")
	check(one, "route", 11)
	b.apply("-D -t " + one) // its connections live on, and so does its number
	check(one, "not-ours", 0)
	add(other, "12")
	check(other, "route", 12)
	check(one, "not-ours", 0)
	add(one, "13")
	check(one, "route", 13)
	b.apply("-A -f 1 -s rr", "-a -f 1 -r 192.168.1.12 -g")
	b.markBy(markRule(t, "10.0.0.80 tcp 80 1"))
	check(one, "route", 12)
}
