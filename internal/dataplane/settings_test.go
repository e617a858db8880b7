// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// value returns what a user reads of a setting.
func (b *bench) value(name string) string {
	b.t.Helper()
	for _, s := range b.Settings() {
		if s.Name == name {
			return s.Value
		}
	}
	b.t.Fatalf("no setting %s", name)
	return ""
}

func TestSet(t *testing.T) {
	b := newBench(t)
	b.set("net.ipv4.vs.sloppy_tcp", "5")
	b.set("snat_reroute", "1") // what it is
	b.set("sync_threshold", "3 50")
	for name, text := range map[string]string{"sloppy_tcp": "x", "snat_reroute": "0", "nothing": "1", "secure_tcp": "4"} {
		if err := b.Set(name, text); err == nil {
			t.Errorf("%s %s was taken", name, text)
		}
	}
	if got := b.value("sloppy_tcp") + b.value("secure_tcp") + b.value("snat_reroute"); got != "501" {
		t.Errorf("sloppy_tcp, secure_tcp and snat_reroute are %s", got)
	}
	if s := b.settings.Switches; s.SloppyTcp != 1 || s.SecureTcp != 0 {
		t.Errorf("the datapath has %+v", s)
	}
}

// The modes of defence tell whether they act, and act while memory is low.
func TestDefence(t *testing.T) {
	for _, mode := range []string{"drop_entry", "drop_packet", "secure_tcp"} {
		b := newBench(t)
		var seen []string
		for _, step := range []struct {
			set  string
			free int64
		}{{"0", 0}, {"1", 1024}, {"", 1023}, {"", 0}, {"", 1024}, {"2", 5000}, {"3", 5000}, {"", 0}, {"0", 0}} {
			b.memory = step.free
			if step.set != "" {
				b.set(mode, step.set)
			}
			b.Defend()
			s := b.settings.Switches
			acts := map[string]bool{"drop_entry": b.isActive(mode), "drop_packet": s.DropRate != 0, "secure_tcp": s.SecureTcp != 0}
			seen = append(seen, fmt.Sprint(b.value(mode), acts[mode]))
		}
		if got := strings.Join(seen, " "); got != "0false 1false 2true 2true 1false 1false 3true 3true 0false" {
			t.Errorf("%s: %s", mode, got)
		}
	}
}

// drop_packet refuses every so manyth packet that would begin a connection.
func TestDropPacket(t *testing.T) {
	b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g")
	run := func() string {
		var seen strings.Builder
		for n := range 10 {
			o := b.send(clientMAC, tcp(clientNumber(n), vip, "S"))
			seen.WriteString(map[string]string{"route": "+", "defence": "-"}[o.verdict])
			b.send(clientMAC, tcp(clientNumber(n), vip, "R"))
		}
		b.clearConns()
		return seen.String()
	}
	b.set("am_droprate", "3")
	for _, step := range []struct{ mode, free, want string }{
		{"0", "0", "++++++++++"},
		{"3", "0", "-++-++-++-"},
		{"1", "5000", "++++++++++"},
		{"1", "896", "+++++++-++"}, // 1024 / (1024 - 896)
		{"1", "0", "----------"},
	} {
		fmt.Sscan(step.free, &b.memory)
		b.set("drop_packet", step.mode)
		if got := run(); got != step.want {
			t.Errorf("mode %s, %s pages free: %s, want %s", step.mode, step.free, got, step.want)
		}
	}
}

// drop_entry drops what is half-open, and of idle connections with few packets
// every so manyth.
func TestDropEntry(t *testing.T) {
	for _, test := range []struct {
		name    string
		packets []string // of the client
		udp     bool
		idle    time.Duration
		dropped string // of five such
	}{
		{name: "half-open", packets: []string{"S"}, dropped: "-----"},
		{name: "young", packets: []string{"S", "A"}, idle: 59 * time.Second, dropped: "+++++"},
		{name: "two packets", packets: []string{"S", "A"}, idle: 61 * time.Second, dropped: "-+-+-"},
		{name: "three packets", packets: []string{"S", "A", "PA"}, idle: 61 * time.Second, dropped: "-++-+"},
		{name: "many packets", packets: []string{"S", "A", "A", "A", "A", "A", "A", "A", "A"}, idle: 61 * time.Second, dropped: "+++++"},
		{name: "closing", packets: []string{"S", "A", "FA"}, idle: 61 * time.Second, dropped: "+++++"},
		{name: "datagram", packets: []string{""}, udp: true, idle: 61 * time.Second, dropped: "-----"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "-A -t 10.0.0.80:80 -s rr", "-a -t 10.0.0.80:80 -r 192.168.1.11:80 -g",
				"-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:80 -g")
			b.defence.turns = [packetsCounted]uint32{}
			b.set("drop_entry", "3")
			var seen strings.Builder
			for n := range 5 {
				b.clearConns()
				clear(b.loads.at)
				for _, flags := range test.packets {
					ip := tcp(clientNumber(n), vip, flags)
					if test.udp {
						ip = udp(clientNumber(n), vip, 'x')
					}
					b.send(clientMAC, ip)
				}
				b.pass(test.idle)
				b.defence.random = b.groupOf(b.entry())
				b.Defend()
				seen.WriteString(map[bool]string{true: "-", false: "+"}[len(b.conns()) == 0])
				b.checkLoads()
			}
			if got := seen.String(); got != test.dropped {
				t.Errorf("%s, want %s", got, test.dropped)
			}
		})
	}
}

// groupOf returns dice that choose the group of an entry once, and then others.
func (b *bench) groupOf(entry entry) func(uint32) uint32 {
	for i := range b.groups.at {
		for e := range b.entries(i, i+1) {
			if e == entry {
				next := uint32(i)
				return func(n uint32) uint32 {
					chosen := next % n
					next++
					return chosen
				}
			}
		}
	}
	b.t.Fatal("no such entry")
	return nil
}

// expire_nodest_conn ends the connections of a removed real server, without a
// packet of theirs.
func TestExpireNodest(t *testing.T) {
	for _, on := range []string{"0", "1"} {
		b := established(t, "-m")
		b.set("expire_nodest_conn", on)
		b.apply("-d -t 10.0.0.80:80 -r 192.168.1.11:80")
		b.Age()
		if got := len(b.conns()); got != map[string]int{"0": 1, "1": 0}[on] {
			t.Errorf("expire_nodest_conn=%s: %d connections", on, got)
		}
		b.checkLoads()
	}
}

// With expire_nodest_conn a client that begins anew leaves a quiesced server.
func TestReuseOfQuiesced(t *testing.T) {
	for on, want := range map[string]string{"0": "11", "1": "12"} {
		b := established(t, "-g")
		b.set("expire_nodest_conn", on)
		b.apply("-a -t 10.0.0.80:80 -r 192.168.1.12:80 -g", "-e -t 10.0.0.80:80 -r 192.168.1.11:80 -g -w 0")
		if o := b.send(clientMAC, tcp(client, vip, "S")); o.mac.String() != "02:00:00:00:01:"+want {
			t.Errorf("expire_nodest_conn=%s: the SYN went to %s", on, o.mac)
		}
	}
}

// conn_reuse_mode says in which states a SYN is scheduled anew.
func TestReuseMode(t *testing.T) {
	for _, method := range []string{"-m", "-g"} {
		for mode, want := range map[string]map[string]string{
			"-m": {"0": "", "1": "TIME_WAIT CLOSE", "2": "TIME_WAIT CLOSE", "3": "TIME_WAIT CLOSE"},
			"-g": {"0": "", "1": "TIME_WAIT CLOSE", "2": "FIN_WAIT TIME_WAIT CLOSE", "3": "FIN_WAIT TIME_WAIT CLOSE"},
		}[method] {
			b := established(t, method)
			b.set("conn_reuse_mode", mode)
			b.apply("-a -t 10.0.0.80:80 -r 192.168.1.12:80 " + method)
			var anew []string
			for state := range directorStateSTATE_UDP {
				b.clearConns()
				b.apply("-e -t 10.0.0.80:80 -r 192.168.1.11:80 -w 1 "+method, "-e -t 10.0.0.80:80 -r 192.168.1.12:80 -w 0 "+method)
				b.send(clientMAC, tcp(client, vip, "S"))
				b.force(state)
				b.apply("-e -t 10.0.0.80:80 -r 192.168.1.11:80 -w 0 "+method, "-e -t 10.0.0.80:80 -r 192.168.1.12:80 -w 1 "+method)
				if o := b.send(clientMAC, tcp(client, vip, "S")); o.mac.String() == serverMAC(12).String() {
					anew = append(anew, stateNames[state])
				}
			}
			if got := strings.Join(anew, " "); got != want {
				t.Errorf("%s, mode %s: scheduled anew in %q, want %q", method, mode, got, want)
			}
		}
	}
}

// What was set outlives the director, and the first of its successors has it.
func TestSettingsSurvive(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 7}
	b := openPinned(t, config, 1<<20)
	b.set("conn_reuse_mode", "2")
	b.set("secure_tcp", "3")
	b.close()
	b = openPinned(t, config, b.now)
	defer b.close()
	if got := b.value("conn_reuse_mode") + b.value("secure_tcp") + b.value("sloppy_tcp"); got != "230" {
		t.Errorf("conn_reuse_mode, secure_tcp and sloppy_tcp are %s", got)
	}
	if s := b.settings.Switches; s.ConnReuseMode != 2 || s.SecureTcp != 1 {
		t.Errorf("the datapath has %+v", s)
	}
}

// Without run_estimation rates stay as they are.
func TestRunEstimation(t *testing.T) {
	b := established(t, "-g")
	b.set("run_estimation", "0")
	b.Estimate()
	if services, err := b.Services(); err != nil || *services[0].Rate != (ipvs.Stats{}) {
		t.Errorf("rates %+v, %v", services, err)
	}
}
