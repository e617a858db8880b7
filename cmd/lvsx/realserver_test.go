// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/realserver"
	"github.com/lvsx/lvsx/internal/testenv"
)

// execute runs a command and returns its output.
func execute(cmd *cobra.Command, line string) (string, error) {
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(strings.Fields(line))
	err := cmd.Execute()
	return out.String(), err
}

func TestRealserverCommand(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	server := testenv.Namespace(t, "command")
	if err := server.Do(func() error {
		if err := host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "peer"}); err != nil {
			return err
		}
		_, err := host.AddAddress("eth0", netip.MustParsePrefix("10.0.0.2/24"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	up := "sysctl -w net.ipv4.conf.eth0.arp_ignore=1\nsysctl -w net.ipv4.conf.eth0.arp_announce=2\nip address add 192.0.2.1/32 dev lo\n"
	down := "undone: ip address add 192.0.2.1/32 dev lo\nundone: sysctl -w net.ipv4.conf.eth0.arp_announce=2\nundone: sysctl -w net.ipv4.conf.eth0.arp_ignore=1\n"
	for _, step := range []struct{ line, out, err string }{
		{"status", "no VIP is served here\n", ""},
		{"up --method dr --vip 192.0.2.1/32 --interface eth0", up, ""},
		{"up --method dr --vip 192.0.2.1 --interface eth0", "", ""},
		{"down --vip 192.0.2.77", "", ""},
		{"down --method tun", "", ""},
		{"down", down, ""},
		{"down", "", ""},
		{"up --vip 192.0.2.1", "", `required flag(s) "method" not set`},
		{"up --method direct --vip 192.0.2.1", "", `method "direct": not one of nat, tun, dr`},
		{"up --method dr --vip 192.0.2.0/24", "", "a VIP is one address"},
		{"up --method nat --director 10.0.0.1", "", "no default route; run: ip route replace default via 10.0.0.1"},
		{"up --method nat --director here", "", "here"},
		{"up --method tun --vip 192.0.2.1 --tun-type gue", "", "need both --tun-type gue and --tun-port"},
		{"up --method tun --vip 192.0.2.1 --tun-port 6080", "", "need both --tun-type gue and --tun-port"},
		{"up --method tun --vip 192.0.2.1 --tun-type gue --tun-port 65536", "", `tunnel "gue:65536"`},
		{"up --method tun --vip 192.0.2.1 --tun-type vxlan", "", `tunnel "vxlan": not one of ipip, gre, gue:PORT`},
		{"up --method tun --vip 192.0.2.1 --mss 20", "", `MSS "20": not auto, off or a number`},
		{"up more", "", "unknown command"},
		{"upp", "", "unknown command"},
	} {
		var out string
		err := server.Do(func() (err error) { out, err = execute(newRealserverCommand(), step.line); return err })
		if (err == nil) != (step.err == "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("%s: error is %v, want %q", step.line, err, step.err)
		}
		if diff := cmp.Diff(step.out, out); err == nil && diff != "" {
			t.Errorf("%s: output (-want +got):\n%s", step.line, diff)
		}
	}
}

func TestRealserverStatusCommand(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Namespaces)
	server := testenv.Namespace(t, "status")
	status := func(line string) (string, error) {
		var out string
		err := server.Do(func() (err error) { out, err = execute(newRealserverCommand(), line); return err })
		return out, err
	}
	out, err := status("status --method dr --vip 192.0.2.1")
	if err == nil || !strings.Contains(out, "missing  -       ip address add 192.0.2.1/32 dev lo") {
		t.Errorf("unprepared: %v\n%s", err, out)
	}
	if _, err := status("up --method dr --vip 192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	out, err = status("status -o json")
	var got realserver.Status
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if err != nil || !got.OK() || len(got.Wants) != 1 || got.Wants[0].Method != realserver.DR {
		t.Errorf("prepared: %v\n%s", err, out)
	}
	if _, err := status("status -o yaml"); err == nil {
		t.Error("output yaml is accepted")
	}
	if _, err := status("down"); err != nil {
		t.Fatal(err)
	}
}
