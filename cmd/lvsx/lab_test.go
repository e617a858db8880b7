// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// labCommand is a lab's command line. TestMain has put lvsx into PATH.
func labCommand(args ...string) *exec.Cmd {
	return exec.Command("lvsx", append([]string{"lab", "--name", labName()}, args...)...)
}

func TestLabCommand(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	before := takeStock(t)
	for range 2 {
		cmd := labCommand("--json")
		var progress bytes.Buffer
		cmd.Stderr = &progress
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, &progress)
		}
		checkReport(t, out)
		if !strings.Contains(progress.String(), "ipvsadm -A -t 192.0.2.80:80 -s rr") {
			t.Errorf("progress does not show the service's command:\n%s", &progress)
		}
		checkStock(t, before)
	}
}

// checkReport reads nothing but the words that others may rely on.
func checkReport(t *testing.T, text []byte) {
	t.Helper()
	var report struct {
		Methods []struct {
			Method               string
			Requests, OK, Failed int
			PerServer            map[string]int
			Director             map[string]int
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&report); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var methods []string
	for _, m := range report.Methods {
		methods = append(methods, m.Method)
		if m.Requests != 300 || m.OK != 300 || m.Failed != 0 {
			t.Errorf("%s: %d requests, %d ok, %d failed", m.Method, m.Requests, m.OK, m.Failed)
		}
		if diff := cmp.Diff(map[string]int{"rs1": 100, "rs2": 100, "rs3": 100}, m.PerServer); diff != "" {
			t.Errorf("%s: requests per real server (-want +got):\n%s", m.Method, diff)
		}
		words := []string{"clientToServerBytes", "clientToServerPackets", "serverToClientBytes", "serverToClientPackets"}
		if diff := cmp.Diff(words, slices.Sorted(maps.Keys(m.Director))); diff != "" {
			t.Errorf("%s: director (-want +got):\n%s", m.Method, diff)
		}
		if back := m.Director["serverToClientPackets"]; (back == 0) != (m.Method != "nat") {
			t.Errorf("%s: %d packets of replies through the director", m.Method, back)
		}
	}
	if diff := cmp.Diff([]string{"nat", "tun", "dr"}, methods); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

func TestLabWeights(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	before := takeStock(t)
	out, err := labCommand("--method", "dr", "--requests", "60", "--weights", "1,2,3").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"rs1 10 (weight 1)   rs2 20 (weight 2)   rs3 30 (weight 3)",
		"DR: replies through the director: 0 packets.",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	checkStock(t, before)
}

// However a lab ends while it works, it takes everything with it.
func TestLabEndsEarly(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	for name, end := range map[string]func(t *testing.T, cmd *exec.Cmd){
		"interrupt": func(_ *testing.T, cmd *exec.Cmd) { cmd.Process.Signal(os.Interrupt) },
		"terminate": func(_ *testing.T, cmd *exec.Cmd) { cmd.Process.Signal(syscall.SIGTERM) },
		"no reader": func(_ *testing.T, cmd *exec.Cmd) { cmd.Process.Signal(syscall.SIGPIPE) },
		"no director": func(t *testing.T, _ *exec.Cmd) {
			director, err := host.OpenNamespace(lab.NodeName(labName(), "dr-director"))
			if err := errors.Join(err, host.Remove([]*host.Namespace{director}, time.Second)); err != nil {
				t.Error(err)
			}
		},
		"no service": func(t *testing.T, _ *exec.Cmd) { inNode(t, "dr-director", "ipvsadm", "-C") },
	} {
		t.Run(name, func(t *testing.T) {
			before := takeStock(t)
			cmd := labCommand("--method", "dr", "--requests", "2000")
			complaint := startUntil(t, cmd, "-r 192.0.2.13:80")
			end(t, cmd)
			if err := cmd.Wait(); err == nil {
				t.Error("lab ended well")
			}
			if complaint.Len() == 0 {
				t.Error("lab does not say why it ended")
			}
			checkStock(t, before)
		})
	}
}

// inNode runs lvsx in a node of the lab.
func inNode(t *testing.T, node string, args ...string) {
	t.Helper()
	n, err := host.OpenNamespace(lab.NodeName(labName(), node))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.Command("lvsx", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// startUntil starts a lab and returns when it has said something. Standard
// error is in the buffer after Wait.
func startUntil(t *testing.T, cmd *exec.Cmd, word string) *bytes.Buffer {
	t.Helper()
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), word) {
			go io.Copy(io.Discard, out)
			return &complaint
		}
	}
	cmd.Wait()
	t.Fatalf("lab ended without a word of %q\n%s", word, &complaint)
	return nil
}

func TestLabStands(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	before := takeStock(t)
	t.Cleanup(func() { labCommand("down").Run() })
	out, err := labCommand("--method", "dr", "--requests", "3", "--keep").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "lab down") {
		t.Errorf("lab does not say how to remove it:\n%s", out)
	}
	out, err = labCommand().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "`lvsx lab down` removes it") {
		t.Errorf("second lab: %v\n%s", err, out)
	}
	out, err = labCommand("exec", "dr-director", "--", "ipvsadm", "-L", "-n").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "192.0.2.80:80 wrr") {
		t.Errorf("services of the standing lab: %v\n%s", err, out)
	}
	for command, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137} {
		run := labCommand("exec", "dr-client", "--", "/bin/sh", "-c", command)
		if out, err := run.CombinedOutput(); run.ProcessState.ExitCode() != want || len(out) > 0 {
			t.Errorf("%s in the standing lab: %v, want status %d and no word\n%s", command, err, want, out)
		}
	}
	for range 2 {
		if out, err := labCommand("down").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	checkStock(t, before)
}

func TestLabDownAfterKill(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	before := takeStock(t)
	t.Cleanup(func() { labCommand("down").Run() })
	cmd := labCommand("--method", "tun", "--requests", "100000")
	startUntil(t, cmd, "-r 203.0.113.13:80")
	if out, err := labCommand("down").CombinedOutput(); err == nil || !strings.Contains(string(out), "running already") {
		t.Errorf("removing a lab that runs: %v\n%s", err, out)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if out, err := labCommand("down").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	checkStock(t, before)
}

func TestLabRefuses(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for _, tt := range []struct {
		args, want string
	}{
		{"--method udp", "not one of nat, tun, dr, all"},
		{"--scenario nosted", "not one of methods, nested"},
		{"--scenario nested --method nat", "tun or dr"},
		{"--scenario nested --weights 1,2", "scenario methods only"},
		{"--servers 0", "a lab has 1 to 99"},
		{"--servers 100", "a lab has 1 to 99"},
		{"--requests -1", "not a number of requests"},
		{"--weights 1,-2", "less than none"},
		{"--weights 1,2147483648", "more than 2147483647"},
		{"--weights 0,0", "nobody would answer"},
		{"--weights 1,2,3,4", "more than servers"},
		{"--xdp hardware", "not one of auto, native, generic"},
		{"--name ../x down", "not one of small letters"},
		{"exec nat-client -- true", "no lab with it stands"},
	} {
		out, err := labCommand(strings.Fields(tt.args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("lab %s: %v, want %q\n%s", tt.args, err, tt.want, out)
		}
	}
}

// stock is what a lab could leave behind on a machine.
type stock struct {
	Namespaces, Files []string
	Links             []host.Link
	Addresses         []netip.Prefix
}

func takeStock(t *testing.T) stock {
	t.Helper()
	namespaces, err := host.Namespaces(lab.NodeName(labName(), ""))
	if err != nil {
		t.Fatal(err)
	}
	var s stock
	for _, n := range namespaces {
		s.Namespaces = append(s.Namespaces, n.Name())
	}
	if s.Links, err = host.Links(); err != nil {
		t.Fatal(err)
	}
	if s.Addresses, err = host.AllAddresses(); err != nil {
		t.Fatal(err)
	}
	s.Files = leftovers(t)
	return s
}

// leftovers returns our files and pins, but for those of namespaces that have
// a name: other tests may be at work in them.
func leftovers(t *testing.T) []string {
	t.Helper()
	named := make(map[string]bool)
	namespaces, err := host.Namespaces("")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces {
		named[fmt.Sprintf("netns-%d", n.Inode())] = true
	}
	var files []string
	for _, pattern := range []string{"/run/lvsx/netns-*", "/run/lvsx/" + labName(), "/sys/fs/bpf/lvsx/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, slices.DeleteFunc(found, func(f string) bool { return named[filepath.Base(f)] })...)
	}
	return files
}

// checkStock waits until there is nothing more than there was: other tests may
// be about to remove what they have made.
func checkStock(t *testing.T, before stock) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		diff := before.compare(takeStock(t))
		if diff == "" {
			return
		}
		select {
		case <-deadline:
			t.Errorf("the machine (-before +after):\n%s", diff)
			return
		case <-tick.C:
		}
	}
}

func (s stock) compare(after stock) string {
	isOld := func(file string) bool { return slices.Contains(s.Files, file) }
	after.Files = slices.DeleteFunc(after.Files, isOld)
	s.Files = nil
	return cmp.Diff(s, after, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}))
}
