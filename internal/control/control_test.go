// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// director answers from what a test gives it, and remembers what it was told.
type director struct {
	mu      sync.Mutex
	applied []ipvs.Change
	refuse  error // from the second change on
	conns   []ipvs.Conn

	services []ipvs.ServiceStatus
	cut      error // after the connections

	timeouts ipvs.Timeouts
	set      []string
	marks    ipvs.MarkRules
}

func (d *director) Apply(changes ...ipvs.Change) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range changes {
		if i > 0 && d.refuse != nil {
			return i, d.refuse
		}
		d.applied = append(d.applied, c)
	}
	return len(changes), nil
}

func (d *director) Services() ([]ipvs.ServiceStatus, error) {
	return d.services, nil
}

func (d *director) Service(key ipvs.Key) (ipvs.ServiceStatus, error) {
	if key != status.Key {
		return ipvs.ServiceStatus{}, &ipvs.Refusal{Errno: syscall.ESRCH}
	}
	return status, nil
}

func (d *director) Conns(yield func(ipvs.Conn) error) error {
	for _, c := range d.conns {
		if err := yield(c); err != nil {
			return err
		}
	}
	return d.cut
}

func (d *director) Timeouts() (ipvs.Timeouts, error) {
	return d.timeouts, nil
}

func (d *director) SetTimeouts(t ipvs.Timeouts) error {
	if d.refuse != nil {
		return d.refuse
	}
	d.timeouts = t
	return nil
}

func (d *director) Kill(filter ipvs.ConnFilter, countOnly bool) (ipvs.Killed, error) {
	if d.refuse != nil {
		return ipvs.Killed{}, d.refuse
	}
	d.set = append(d.set, fmt.Sprint("kill ", filter.Client, " ", countOnly))
	return ipvs.Killed{Reset: 3, Forgotten: 1}, nil
}

func (d *director) Settings() ([]ipvs.Setting, error) {
	return []ipvs.Setting{{Name: "sloppy_tcp", Value: "1", Default: "0"}}, nil
}

func (d *director) Set(name, value string) error {
	if d.refuse != nil {
		return d.refuse
	}
	d.set = append(d.set, name, value)
	return nil
}

func (d *director) MarkRules() ([]ipvs.MarkRule, error) {
	return d.marks.All(), nil
}

func (d *director) AddMarkRules(rules ...ipvs.MarkRule) error {
	_, err := d.marks.Add(rules...)
	return err
}

func (d *director) DeleteMarkRules(rules ...ipvs.MarkRule) (int, error) {
	return len(d.marks.Delete(rules...)), nil
}

func (d *director) Status() (control.Status, error) {
	return control.Status{Version: "1.2", PID: 42, Problems: []string{"no route"}}, nil
}

var (
	key    = ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")}
	status = ipvs.ServiceStatus{
		Service: ipvs.Service{Key: key, Scheduler: "wrr"},
		Stats:   ipvs.Stats{Conns: 1, InBytes: 1 << 40},
		Destinations: []ipvs.DestinationStatus{{
			Destination: ipvs.Destination{RIP: netip.MustParseAddrPort("10.0.0.1:8080"), Forwarding: ipvs.Tunnel, Weight: 3},
			Active:      5,
		}},
	}
	destination = ipvs.Destination{RIP: netip.MustParseAddrPort("10.0.0.2:80"), Forwarding: ipvs.Route, Weight: 1}
	changes     = []ipvs.Change{
		{Op: ipvs.AddService, Service: ipvs.Service{Key: key, Scheduler: "rr"}},
		{Op: ipvs.AddDestination, Service: ipvs.Service{Key: key}, Destination: destination},
		{Op: ipvs.Zero},
	}
	plain = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

// serve runs a server until the test ends.
func serve(t *testing.T, d control.Director) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "director.sock")
	s, err := control.Listen(path, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return path
}

func dial(t *testing.T, path string) *control.Client {
	t.Helper()
	c, err := control.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Many changes travel in another form, and arrive the same.
func TestManyChanges(t *testing.T) {
	d := &director{}
	c := dial(t, serve(t, d))
	many := slices.Repeat(changes, 100)
	if n, err := c.Apply(many...); n != len(many) || err != nil {
		t.Errorf("Apply = %d, %v", n, err)
	}
	if diff := cmp.Diff(many, d.applied, plain); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
}

// What comes as gob is what JSON would have said, empty lists included.
func TestServices(t *testing.T) {
	bare := status
	bare.Rate, bare.Destinations = &ipvs.Stats{}, []ipvs.DestinationStatus{}
	d := &director{}
	path := serve(t, d)
	for _, services := range [][]ipvs.ServiceStatus{{}, {bare}, {status, bare, status}} {
		d.services = services
		var want []ipvs.ServiceStatus
		_, text := get(t, path, "/v1/services")
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got, err := dial(t, path).Services()
		if diff := cmp.Diff(want, got, plain); diff != "" || err != nil {
			t.Errorf("%v, services (-JSON +gob):\n%s", err, diff)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	d := &director{services: []ipvs.ServiceStatus{status}}
	c := dial(t, serve(t, d))
	if n, err := c.Apply(changes...); n != len(changes) || err != nil {
		t.Errorf("Apply = %d, %v", n, err)
	}
	if diff := cmp.Diff(changes, d.applied, plain); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	services, err := c.Services()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ipvs.ServiceStatus{status}, services, plain); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	one, err := c.Service(key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(status, one, plain); diff != "" {
		t.Errorf("service (-want +got):\n%s", diff)
	}
	want := ipvs.Timeouts{TCP: 3600, UDP: 5}
	if err := c.SetTimeouts(want); err != nil {
		t.Error(err)
	}
	if got, err := c.Timeouts(); got != want || err != nil {
		t.Errorf("Timeouts = %+v, %v", got, err)
	}
	if err := c.Set("sloppy_tcp", "1"); err != nil || cmp.Diff([]string{"sloppy_tcp", "1"}, d.set) != "" {
		t.Errorf("Set: %v, the director was told %q", err, d.set)
	}
	filter := ipvs.ConnFilter{Client: ipvs.Endpoint{Network: netip.MustParsePrefix("198.51.100.0/24")}}
	if killed, err := c.Kill(filter, true); err != nil || killed != (ipvs.Killed{Reset: 3, Forgotten: 1}) {
		t.Errorf("Kill = %+v, %v", killed, err)
	}
	if killed, err := c.Kill(ipvs.ConnFilter{}, false); err != nil || killed.Reset != 3 {
		t.Errorf("Kill = %+v, %v", killed, err)
	}
	if diff := cmp.Diff([]string{"kill 198.51.100.0/24 true", "kill  false"}, d.set[2:]); diff != "" {
		t.Errorf("the director was told (-want +got):\n%s", diff)
	}
	settings, err := c.Settings()
	if err != nil || len(settings) != 1 || settings[0].Value != "1" {
		t.Errorf("Settings = %+v, %v", settings, err)
	}
	health, err := c.Status()
	if err != nil || health.PID != 42 || health.Problems[0] != "no route" {
		t.Errorf("Status = %+v, %v", health, err)
	}
}

// A refusal comes with the kernel's errno, and with how much was done before.
func TestRefusals(t *testing.T) {
	d := &director{refuse: &ipvs.Refusal{Op: ipvs.AddDestination, Errno: syscall.EEXIST, Why: "it is there"}}
	c := dial(t, serve(t, d))
	n, err := c.Apply(changes...)
	var refused *ipvs.Refusal
	if n != 1 || !errors.As(err, &refused) || *refused != (ipvs.Refusal{Op: ipvs.AddDestination, Errno: syscall.EEXIST, Why: "it is there"}) {
		t.Errorf("Apply = %d, %#v", n, err)
	}
	d.refuse = errors.New("the disk is gone")
	if n, err := c.Apply(changes...); n != 1 || err == nil || err.Error() != "the disk is gone" {
		t.Errorf("Apply = %d, %v", n, err)
	}
	if err := c.SetTimeouts(ipvs.Timeouts{TCP: 1}); err == nil || err.Error() != "the disk is gone" {
		t.Errorf("SetTimeouts = %v", err)
	}
	if err := c.Set("sloppy_tcp", "1"); err == nil || err.Error() != "the disk is gone" {
		t.Errorf("Set = %v", err)
	}
	if _, err := c.Kill(ipvs.ConnFilter{}, false); err == nil || err.Error() != "the disk is gone" {
		t.Errorf("Kill = %v", err)
	}
	missing := ipvs.Key{Protocol: ipvs.UDP, VIP: key.VIP}
	if _, err := c.Service(missing); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("Service = %v", err)
	}
}

// Each change is tried, whatever became of those before.
func TestApplyEach(t *testing.T) {
	d := &director{refuse: &ipvs.Refusal{Errno: syscall.EEXIST, Why: "it is there"}}
	c := dial(t, serve(t, d))
	refused, err := c.ApplyEach(changes...)
	want := ipvs.Refused{1: {Op: changes[1].Op, Errno: syscall.EEXIST, Why: "it is there"}}
	if diff := cmp.Diff(want, refused); diff != "" || err != nil || len(d.applied) != len(changes)-1 {
		t.Errorf("%v, refused (-want +got):\n%s", err, diff)
	}
	d.refuse = errors.New("the disk is gone")
	if refused, err := c.ApplyEach(changes...); len(refused) != 0 || err == nil || err.Error() != "the disk is gone" {
		t.Errorf("ApplyEach = %v, %v", refused, err)
	}
}

func TestConns(t *testing.T) {
	conn := ipvs.Conn{
		Protocol: ipvs.TCP, CIP: netip.MustParseAddrPort("172.16.0.5:40000"), VIP: key.VIP,
		RIP: netip.MustParseAddrPort("10.0.0.1:80"), State: "ESTABLISHED", Expires: 15 * time.Minute,
	}
	d := &director{}
	for range 10000 {
		d.conns = append(d.conns, conn)
	}
	c := dial(t, serve(t, d))
	count := 0
	err := c.Conns(func(got ipvs.Conn) error {
		if got != conn {
			return fmt.Errorf("connection %d is %+v", count, got)
		}
		count++
		return nil
	})
	if err != nil || count != len(d.conns) {
		t.Errorf("%d connections, %v", count, err)
	}
	lines := 0
	err = c.ConnLines(ipvs.ConnFilter{}, func(line []byte) error {
		var got ipvs.Conn
		if err := json.Unmarshal(line, &got); err != nil || got != conn {
			return fmt.Errorf("connection %d is %+v, %w", lines, got, err)
		}
		lines++
		return nil
	})
	if err != nil || lines != len(d.conns) {
		t.Errorf("%d lines, %v", lines, err)
	}
	enough := errors.New("enough")
	if err := c.Conns(func(ipvs.Conn) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("yield's error came back as %v", err)
	}
	d.cut = errors.New("the table is gone")
	if err := c.Conns(func(ipvs.Conn) error { return nil }); err == nil || err.Error() != "the table is gone" {
		t.Errorf("the director's error came back as %v", err)
	}
}

// A list that ends early is no list.
func TestFilteredConns(t *testing.T) {
	d := &director{}
	for i := range 10 {
		d.conns = append(d.conns, ipvs.Conn{
			Protocol: ipvs.TCP, State: "ESTABLISHED", VIP: key.VIP, RIP: netip.MustParseAddrPort("10.0.0.1:80"),
			CIP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(i)}), 40000),
		})
	}
	c := dial(t, serve(t, d))
	network, err := ipvs.ParseEndpoint("172.16.0.4/30")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	err = c.FilteredConns(ipvs.ConnFilter{Client: network, State: "established"}, func(got ipvs.Conn) error {
		if !network.Network.Contains(got.CIP.Addr()) {
			t.Errorf("%s was not asked for", got.CIP)
		}
		count++
		return nil
	})
	if err != nil || count != 4 {
		t.Errorf("%d connections, want 4; %v", count, err)
	}
}

func TestConnsCut(t *testing.T) {
	conn := ipvs.Conn{Protocol: ipvs.TCP, VIP: key.VIP, State: "ESTABLISHED"}
	whole := serve(t, &director{conns: []ipvs.Conn{conn, conn}})
	path := filepath.Join(t.TempDir(), "director.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var body []byte
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	c := dial(t, path)
	for accept, list := range map[string]func() error{
		"application/json":  func() error { return c.ConnLines(ipvs.ConnFilter{}, func([]byte) error { return nil }) },
		"application/x-gob": func() error { return c.Conns(func(ipvs.Conn) error { return nil }) },
	} {
		stream := getAs(t, whole, accept)
		body = stream
		if err := list(); err != nil {
			t.Errorf("%s: a whole list: %v", accept, err)
		}
		for end := range len(stream) {
			body = stream[:end]
			if err := list(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: %d of %d bytes: %v", accept, end, len(stream), err)
			}
		}
	}
}

// getAs gets connections in one form.
func getAs(t *testing.T, path, accept string) []byte {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://director/v1/connections", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	_, body := read(t)(httpClient(path).Do(request))
	return []byte(body)
}

func TestMarkRules(t *testing.T) {
	client := dial(t, serve(t, &director{}))
	vip := netip.MustParsePrefix("192.0.2.0/24")
	web := ipvs.MarkRule{VIP: vip, Protocol: ipvs.TCP, Ports: ipvs.PortRange{First: 80, Last: 443}, Mark: 1}
	rest := ipvs.MarkRule{VIP: netip.MustParsePrefix("2001:db8::1/128"), Ports: ipvs.AllPorts, Mark: 0xffffffff}
	if err := client.AddMarkRules(web, rest); err != nil {
		t.Fatal(err)
	}
	other := web
	other.Mark = 2
	if err := client.AddMarkRules(other); err == nil || err.Error() != "rule --vip 192.0.2.0/24 --proto tcp --ports 80-443 --mark 2 contradicts --vip 192.0.2.0/24 --proto tcp --ports 80-443 --mark 1: delete that one first" {
		t.Errorf("a contradiction: %v", err)
	}
	rules, err := client.MarkRules()
	if diff := cmp.Diff([]ipvs.MarkRule{web, rest}, rules, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("rules (-want +got), %v:\n%s", err, diff)
	}
	if n, err := client.DeleteMarkRules(other, other); n != 1 || err != nil {
		t.Errorf("deleted %d, %v; want 1", n, err)
	}
}
