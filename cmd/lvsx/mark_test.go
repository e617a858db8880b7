// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

func TestMarkCommandRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"forget":                                       "unknown command",
		"add --mark 1":                                 `required flag(s) "vip" not set`,
		"add --vip 192.0.2.1":                          `required flag(s) "mark" not set`,
		"add 192.0.2.1 --mark 1":                       "unknown command",
		"add --vip 192.0.2 --mark 1":                   `VIP "192.0.2": not an address (192.0.2.1) or a network (192.0.2.0/24)`,
		"add --vip 192.0.2.1 --mark -1":                `invalid argument "-1"`,
		"add --vip ::1 --mark 1 --proto":               "flag needs an argument",
		"add --vip 192.0.2.1 --mark 1 --proto icmp":    `protocol "icmp": not one of tcp, udp, sctp`,
		"add --vip 192.0.2.1 --mark 1 --proto ip":      `protocol "ip": not one of tcp, udp, sctp`,
		"add --vip 192.0.2.1 --mark 1 --ports 80,http": `ports "http": "http" is no port from 0 to 65535`,
		"del --vip 192.0.2.1 --mark 1":                 "unknown flag: --mark",
		"list -o yaml":                                 "not one of table, json",
	} {
		if _, err := execute(newMarkCommand(), line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", line, err, want)
		}
	}
}

func TestMarkHelpTellsWhy(t *testing.T) {
	help, err := execute(newMarkCommand(), "--help")
	if err != nil || !strings.Contains(help, "XDP sees them before") {
		t.Errorf("help: %v\n%s", err, help)
	}
}

// Clients reach a service that only rules lead to, a killed director or not.
func TestMarksBalance(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	c := newCluster(t, lab.NAT, lab.Options{XDP: "generic"})
	run := func(line string) string {
		t.Helper()
		out, err := c.Lvsx("director", strings.Fields(line)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("ipvsadm -C")
	run("ipvsadm -A -f 7 -s rr")
	run("ipvsadm -a -f 7 -r 10.0.0.11:8080 -m")
	run("ipvsadm -a -f 7 -r 10.0.0.12:8080 -m")
	if status := run("status"); !strings.Contains(status, "service -f 7: no rule gives a packet its mark") {
		t.Errorf("status does not tell:\n%s", status)
	}
	run("mark add --vip 192.0.2.80 --proto tcp --ports 80,443 --mark 7")
	run("mark add --vip 192.0.2.80 --proto tcp --ports 80 --mark 7") // is there
	if status := run("status"); strings.Contains(status, "problem") {
		t.Errorf("status:\n%s", status)
	}
	checkAnswers(t, c, 6, map[string]int{"rs1": 3, "rs2": 3, "rs3": 0})

	if _, err := c.Lvsx("director", "mark", "add", "--vip", "192.0.2.80", "--proto", "tcp", "--ports", "81,80", "--mark", "8"); err == nil ||
		!strings.Contains(err.Error(), "rule --vip 192.0.2.80 --proto tcp --ports 80 --mark 8 contradicts --vip 192.0.2.80 --proto tcp --ports 80 --mark 7: delete that one first") {
		t.Errorf("a contradiction: %v", err)
	}
	if err := c.KillDirector(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartDirector(context.Background()); err != nil {
		t.Fatal(err)
	}
	const list = "VIP         PROTO  PORTS  MARK\n192.0.2.80  tcp    80     7\n192.0.2.80  tcp    443    7\n"
	if diff := cmp.Diff(list, run("mark list")); diff != "" {
		t.Errorf("rules after another start (-want +got):\n%s", diff)
	}
	var rules []ipvs.MarkRule
	if err := json.Unmarshal([]byte(run("mark list -o json")), &rules); err != nil || len(rules) != 2 || rules[1].Ports.First != 443 {
		t.Errorf("rules as JSON: %v, %v", rules, err)
	}
	checkAnswers(t, c, 4, map[string]int{"rs1": 2, "rs2": 2, "rs3": 0})

	run("mark del --vip 192.0.2.80 --proto tcp --ports 80")
	run("mark del --vip 192.0.2.80 --proto tcp --ports 80") // is not there
	round, err := c.Send(context.Background(), 1, nil)
	if err != nil || round.OK != 0 {
		t.Errorf("without the rule: %d answered, %v", round.OK, err)
	}
}
