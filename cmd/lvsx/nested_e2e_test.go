// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// Directors behind a director balance what it sends, in every tunnel and by DR: each
// real server its share, bulk both ways, no reply comes through the one in front, and
// clients send nothing that does not fit through its tunnel. Each cluster has three directors to load, so not all is tried in all
// families and modes: the datapath's own tests do that.
func TestNestedDirectors(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for _, test := range []struct {
		front  lab.Method
		family int
		tunnel string
		xdp    string
	}{
		{lab.Nested, 4, "", "generic"},
		{lab.Nested, 6, "--tun-type gre --tun-csum", "native"},
		{lab.Nested, 4, "--tun-type gue --tun-port 5555 --tun-csum", "native"},
		{lab.NestedDR, 4, "", "generic"},
		{lab.NestedDR, 6, "", "native"},
	} {
		t.Run(fmt.Sprint(test.front, test.family, " ", test.xdp, " ", test.tunnel), func(t *testing.T) {
			c := newCluster(t, test.front, lab.Options{XDP: test.xdp, Family: test.family, Tunnel: strings.Fields(test.tunnel)})
			each := make(map[string]int)
			for _, s := range c.Servers {
				each[s.Name] = 10
			}
			checkRound(t, c, 10*len(c.Servers), each)
			checkInner(t, c, uint64(10*len(c.Servers)))
			checkBulk(t, c, 10*megabyte)
			if refused := packetsOf(t, c, "too-big"); refused != 0 {
				t.Errorf("%d packets of clients are too big for the tunnel", refused)
			}
		})
	}
}

// checkInner wants packets both ways through each inner director, and a share of
// the requests.
func checkInner(t *testing.T, c *lab.Cluster, requests uint64) {
	t.Helper()
	inner, err := c.PassedInner()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range inner {
		atLeast := 4 * requests / uint64(len(inner))
		if p.ClientToServerPackets < atLeast || p.ServerToClientPackets < atLeast {
			t.Errorf("%s: %d packets to real servers, %d back, want at least %d", name, p.ClientToServerPackets, p.ServerToClientPackets, atLeast)
		}
	}
	if len(inner) != 2 {
		t.Errorf("%d inner directors", len(inner))
	}
}

// What merging links send of a tunnel is more than a packet.
func TestMergedNestedDirectors(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.TCX)
	checkBulk(t, newCluster(t, lab.Nested, lab.Options{XDP: "generic", Offload: true}), 10*megabyte)
}

// An inner director that dies leaves its datapath at work; the next one takes from
// no other front than it is told of.
func TestFrontsOutliveDirector(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	c := newCluster(t, lab.Nested, lab.Options{XDP: "native"})
	fronts := func() []string {
		t.Helper()
		text, err := c.Lvsx("inner1", "status", "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		var status struct{ Fronts []string }
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		return status.Fronts
	}
	if diff := cmp.Diff([]string{"192.0.2.2"}, fronts()); diff != "" {
		t.Errorf("fronts (-want +got):\n%s", diff)
	}
	for _, step := range []struct {
		front string
		ok    int
	}{
		{"", 12}, // nobody runs
		{"192.0.2.2", 12},
		{"192.0.2.9", 6}, // the other inner director answers half
		{"192.0.2.2", 12},
	} {
		if step.front == "" {
			if err := c.KillInner("inner1"); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := c.RestartInner(t.Context(), "inner1", "--front", step.front); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{step.front}, fronts()); diff != "" {
				t.Errorf("fronts (-want +got):\n%s", diff)
			}
		}
		round, err := c.Send(t.Context(), 12, nil)
		if err != nil || round.OK != step.ok {
			t.Errorf("front %q: %d of 12 answered, want %d: %v %v", step.front, round.OK, step.ok, err, round.FirstError)
		}
	}
}

func TestLabNested(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	before := takeStock(t)
	cmd := labCommand("--scenario", "nested", "--requests", "40", "--json")
	var progress strings.Builder
	cmd.Stderr = &progress
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	type passed struct{ ClientToServerPackets, ServerToClientPackets int }
	var report struct {
		Methods []struct {
			Method    string
			OK        int
			PerServer map[string]int
			Director  passed
			Inner     map[string]passed
		}
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Methods) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	m := report.Methods[0]
	if diff := cmp.Diff(map[string]int{"rs1": 10, "rs2": 10, "rs3": 10, "rs4": 10}, m.PerServer); diff != "" {
		t.Errorf("requests per real server (-want +got):\n%s", diff)
	}
	if m.Method != "nested" || m.Director.ClientToServerPackets < 200 || m.Director.ServerToClientPackets != 0 {
		t.Errorf("%s: the director in front counts %+v", m.Method, m.Director)
	}
	for _, name := range []string{"inner1", "inner2"} {
		if p := m.Inner[name]; p.ClientToServerPackets < 100 || p.ServerToClientPackets < 80 {
			t.Errorf("%s counts %+v", name, p)
		}
	}
	for _, want := range []string{"lvsx director --interface eth0 --interface eth1 --front 192.0.2.2", "NESTED: replies through the director in front: 0 packets."} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("no %q in:\n%s", want, &progress)
		}
	}
	checkStock(t, before)
}
