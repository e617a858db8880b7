// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"testing"
	"time"
)

// refused counts how many of so many SYNs to a service without servers are
// answered.
func (b *bench) refused(of int) int {
	b.t.Helper()
	answered := 0
	for n := range of {
		switch o := b.send(clientMAC, tcp(clientNumber(n), vip, "S")); {
		case o.verdict == "no-destination" && o.mac != nil:
			answered++
		case o.verdict != "unanswered" || o.action != xdpDrop:
			b.t.Fatalf("%s", o.verdict)
		}
	}
	return answered
}

func (b *bench) limitICMP(perSecond, burst uint32) {
	b.t.Helper()
	b.SetICMPLimit(perSecond, burst)
	b.t.Cleanup(func() { b.SetICMPLimit(0, 0) })
}

// A burst of ICMP errors is sent, then no more than the rate.
func TestICMPLimit(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr")
	if got := b.refused(200); got != 200 {
		t.Errorf("without limit %d of 200 are answered", got)
	}
	b.pass(time.Minute)
	perTick := uint32(3)
	b.limitICMP(perTick*b.clock.ticks(time.Second), 20)
	for i, step := range []struct {
		ticks uint32 // that passed
		want  int
	}{{0, 20}, {1, 3}, {0, 0}, {2, 6}, {1000, 20}, {7, 20}, {1, 3}} {
		b.at(b.now + step.ticks)
		if got := b.refused(40); got != step.want {
			t.Errorf("step %d: %d are answered, want %d", i, got, step.want)
		}
	}
}

// Path MTU discovery and RSTs are not limited.
func TestICMPLimitSpares(t *testing.T) {
	b := established(t, "-i")
	b.apply("-A -u 10.0.0.80:80 -s rr")
	b.pass(time.Second)
	b.limitICMP(1, 1)
	b.send(clientMAC, udp(client, vip, 'x')) // the last that may be answered
	for range 10 {
		if o := b.send(clientMAC, udp(client, vip, 'x')); o.verdict != "unanswered" {
			t.Fatalf("no server: %s", o.verdict)
		}
		if o := b.send(clientMAC, tcp(client, vip, "A", make([]byte, 1460)...)); o.verdict != "too-big" || o.mac == nil {
			t.Fatalf("too big: %s", o.verdict)
		}
	}
}
