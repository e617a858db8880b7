// SPDX-License-Identifier: Apache-2.0

package ipvsadm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// result is what a run of the program shows.
type result struct {
	Code           int
	Stdout, Stderr string
}

func run(p *ipvsadm.Program, argv ...string) result {
	var stdout, stderr bytes.Buffer
	p.Stdout, p.Stderr = &stdout, &stderr
	code := p.Run(append([]string{"ipvsadm"}, argv...))
	return result{code, stdout.String(), stderr.String()}
}

func check(t *testing.T, want, got result) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func opening(d ipvsadm.Director, err error) *ipvsadm.Program {
	return &ipvsadm.Program{
		Stdin:    strings.NewReader(""),
		Open:     func() (ipvsadm.Director, error) { return d, err },
		Hosts:    "testdata/golden/etc/etc-hosts",
		Services: "testdata/golden/etc/etc-services",
	}
}

func TestNoDirector(t *testing.T) {
	p := opening(nil, errors.New("no director runs here; start one with: lvsx director"))
	complaint := "ipvsadm: no director runs here; start one with: lvsx director\n"
	check(t, result{255, "", complaint}, run(p))
	check(t, result{255, "", complaint}, run(p, "-L", "-n"))
	check(t, result{255, "", complaint}, run(p, "-C"))
	check(t, result{255, "", complaint}, run(p, "-R"))
	check(t, result{2, "", "Illegal 'numeric' option with the 'flush' command\n"}, run(p, "-C", "-n"))
	if got := run(p, "-h"); got.Code != 0 || !strings.Contains(got.Stdout, "Usage:") {
		t.Errorf("-h without a director: %+v", got)
	}
}

// bare hides the optional parts of a director.
type bare struct{ ipvsadm.Director }

func TestNotBuilt(t *testing.T) {
	p := opening(bare{newFake()}, nil)
	check(t, result{255, "", "ipvsadm: --set is not built yet\n"}, run(p, "--set", "1", "2", "3"))
	check(t, result{255, "", "ipvsadm: -L --timeout is not built yet\n"}, run(p, "-L", "--timeout"))
	check(t, result{255, "", "ipvsadm: --start-daemon is not built yet\n"}, run(p, "--start-daemon", "master"))
	check(t, result{255, "", "ipvsadm: --stop-daemon is not built yet\n"}, run(p, "--stop-daemon", "backup"))
	check(t, result{0, "", ""}, run(p, "-L", "--daemon"))
	check(t, result{2, "", "invalid timeout value `x' specified\n"}, run(p, "--set", "1", "2", "x"))
}

// refusing answers every change with the same error.
type refusing struct {
	ipvsadm.Director
	err error
}

func (r refusing) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	return ipvs.ApplyEach(changes, func(...ipvs.Change) (int, error) { return 0, r.err })
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"why", &ipvs.Refusal{Errno: syscall.ENOTSUP, Why: "scheduler sh is not built yet; built are rr, wrr"}, "ipvsadm: scheduler sh is not built yet; built are rr, wrr\n"},
		{"unsupported", &ipvs.Refusal{Errno: syscall.EOPNOTSUPP}, "Operation not supported with IPv6\n"},
		{"the operation's words", &ipvs.Refusal{Errno: syscall.EEXIST}, "Service already exists\n"},
		{"any operation's words", &ipvs.Refusal{Errno: syscall.ENOMEM}, "Memory allocation problem\n"},
		{"strerror", &ipvs.Refusal{Errno: syscall.ENOSPC}, "No space left on device\n"},
		{"no refusal", io.ErrUnexpectedEOF, "ipvsadm: unexpected EOF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := opening(refusing{newFake(), tt.err}, nil)
			check(t, result{255, "", tt.want}, run(p, "-A", "-t", "10.0.0.1:80"))
		})
	}
}

func TestRestoreStopsWhenTheDirectorIsLost(t *testing.T) {
	p := opening(refusing{newFake(), io.ErrUnexpectedEOF}, nil)
	p.Stdin = strings.NewReader("-A -t 10.0.0.1:80\n-A -t 10.0.0.2:80\n-L -n\n")
	check(t, result{255, "", "ipvsadm: unexpected EOF\n"}, run(p, "-R"))
}

// tableDirector applies without the copying of fakeDirector.
type tableDirector struct {
	*fakeDirector
}

func (d tableDirector) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	d.applies++
	return ipvs.ApplyEach(changes, d.applyAll)
}

func (d tableDirector) applyAll(changes ...ipvs.Change) (int, error) {
	for i, c := range changes {
		if err := d.table.Apply(c); err != nil {
			return i, err
		}
	}
	return len(changes), nil
}

func TestRestoreManyLines(t *testing.T) {
	var rules strings.Builder
	const services, each = 10_000, 10
	for i := range services {
		vip := fmt.Sprintf("10.%d.%d.1:80", i/250, i%250)
		fmt.Fprintf(&rules, "-A -t %s -s rr\n", vip)
		for j := range each {
			fmt.Fprintf(&rules, "-a -t %s -r 192.168.1.%d:80 -m -w 1\n", vip, j+1)
		}
	}
	fake := newFake()
	p := opening(tableDirector{fake}, nil)
	p.Stdin = strings.NewReader(rules.String())
	start := time.Now()
	check(t, result{}, run(p, "-R"))
	if n := len(fake.table.Services); n != services {
		t.Errorf("%d services, want %d", n, services)
	}
	if lines := services * (each + 1); fake.applies > lines/100 {
		t.Errorf("%d lines took %d calls: not in batches", lines, fake.applies)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("restore took %v", took)
	}
}

// What is saved can be restored at once: nothing is cleared while it is still read.
func TestSaveIntoRestore(t *testing.T) {
	p := opening(withOneService(), nil)
	save := *p
	before := run(&save, "-S", "-n")
	saved, pipe := io.Pipe()
	save.Stdout, p.Stdin = pipe, saved
	go func() {
		save.Run([]string{"ipvsadm-save", "-n"})
		pipe.Close()
	}()
	if code := p.Run([]string{"ipvsadm-restore"}); code != 0 {
		t.Errorf("exit status %d", code)
	}
	check(t, before, run(p, "-S", "-n"))
}

// telling reports each change on a channel.
type telling struct {
	ipvsadm.Director
	changes chan ipvs.Change
}

func (d telling) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	for _, c := range changes {
		d.changes <- c
	}
	return nil, nil
}

func TestRestoreTakesHandTypedLinesAtOnce(t *testing.T) {
	d := telling{newFake(), make(chan ipvs.Change)}
	p := opening(d, nil)
	in, typist := io.Pipe()
	p.Stdin = in
	done := make(chan result)
	go func() { done <- run(p, "-R") }()
	for _, line := range []string{"-A -t 10.0.0.1:80 -s rr", "-A -t 10.0.0.2:80 -s rr"} {
		fmt.Fprintln(typist, line)
		select {
		case c := <-d.changes:
			if c.String() != line {
				t.Errorf("got %q, want %q", c, line)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q waits for the next line", line)
		}
	}
	typist.Close()
	check(t, result{}, <-done)
}

func TestStatsAreScaled(t *testing.T) {
	fake := withOneService()
	fake.stats = ipvs.Stats{Conns: 1, InPkts: 99_999_999, OutPkts: 102_810_040, InBytes: 1_000_000_000, OutBytes: 123_456_789_012}
	const head = "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  -> RemoteAddress:Port\n"
	check(t, result{0, head +
		"TCP  10.0.0.80:80                        1 99999999  102810K    1000M     123G\n" +
		"  -> 192.168.1.11:80                     1 99999999  102810K    1000M     123G\n", ""},
		run(opening(fake, nil), "-L", "-n", "--stats", "-t", "10.0.0.80:80"))
	check(t, result{0, head +
		"TCP  10.0.0.80:80                        1 99999999 102810040 1000000000 123456789012\n" +
		"  -> 192.168.1.11:80                     1 99999999 102810040 1000000000 123456789012\n", ""},
		run(opening(fake, nil), "-L", "-n", "--stats", "--exact", "-t", "10.0.0.80:80"))
}

func TestListKeepsLongIPv6Addresses(t *testing.T) {
	fake := newFake()
	p := opening(fake, nil)
	check(t, result{}, run(p, "-A", "-t", "[2001:db8:1:2:3:4:5:6]:65535", "-s", "rr"))
	got := run(p, "-L", "-n")
	if want := "TCP  [2001:db8:1:2:3:4:5:6]:65535 rr\n"; !strings.HasSuffix(got.Stdout, want) {
		t.Errorf("-L -n prints %q, want it to end in %q", got.Stdout, want)
	}
}

func TestListMissingService(t *testing.T) {
	check(t, result{1, "", "No such service\n"}, run(opening(newFake(), nil), "-L", "-n", "-t", "10.0.0.80:80"))
}

func TestListConns(t *testing.T) {
	fake := newFake()
	addr := netip.MustParseAddrPort
	fake.conns = []ipvs.Conn{
		{Protocol: ipvs.TCP, CIP: addr("172.16.0.5:40001"), VIP: addr("10.0.0.80:80"), RIP: addr("192.168.1.11:80"), State: "ESTABLISHED", Expires: 14*time.Minute + 57900*time.Millisecond},
		{Protocol: 0, CIP: addr("172.16.0.5:0"), VIP: addr("0.0.0.5:0"), RIP: addr("192.168.1.12:0"), State: "NONE", Expires: 59 * time.Second},
		{Protocol: ipvs.TCP, CIP: addr("[2001:db8:c::5]:40000"), VIP: addr("[2001:db8::80]:80"), RIP: addr("[2001:db8:1::11]:80"), State: "TIME_WAIT", Expires: 2 * time.Hour},
	}
	const head = "IPVS connection entries\npro expire state       source             virtual            destination\n"
	check(t, result{0, head +
		"TCP 14:57  ESTABLISHED 172.16.0.5:40001   10.0.0.80:80       192.168.1.11:80\n" +
		"IP  00:59  NONE        172.16.0.5:0       0.0.0.5:0          192.168.1.12:0\n" +
		"TCP 120:00  TIME_WAIT   [2001:db8:c::5]:40000 [2001:db8::80]:80  [2001:db8:1::11]:80\n", ""},
		run(opening(fake, nil), "-L", "-n", "-c"))
	fake.conns = fake.conns[:1]
	check(t, result{0, head +
		"TCP 14:57  ESTABLISHED 172.16.0.5:40001   www.example.test:http rs1.example.test:http\n", ""},
		run(opening(fake, nil), "-L", "-c"))
}
