// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
	cut     error // after the connections
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
	return []ipvs.ServiceStatus{status}, nil
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

func TestRoundTrip(t *testing.T) {
	d := &director{}
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
	missing := ipvs.Key{Protocol: ipvs.UDP, VIP: key.VIP}
	if _, err := c.Service(missing); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("Service = %v", err)
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
func TestConnsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "director.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var body string
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	c := dial(t, path)
	line := `{"protocol":"tcp","cip":"172.16.0.5:1","vip":"192.0.2.1:80","rip":"10.0.0.1:80","state":"UDP","expires":1}` + "\n"
	for _, body = range []string{"", line, line + line[:30], line + `{"end":`} {
		if err := c.Conns(func(ipvs.Conn) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", body, err)
		}
	}
	body = line + `{"end":true}`
	if err := c.Conns(func(ipvs.Conn) error { return nil }); err != nil {
		t.Errorf("a whole list: %v", err)
	}
}

// What cannot be read whole is refused, and none of it is done.
func TestBadBodies(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	good := `{"op":"flush"}`
	for name, body := range map[string]string{
		"empty":            "",
		"no JSON":          "flush",
		"no list":          good,
		"cut":              "[" + good + ",",
		"unknown field":    `[` + good + `,{"op":"flush","force":true}]`,
		"wrong type":       `[` + good + `,{"op":5}]`,
		"bad address":      `[` + good + `,{"op":"add-service","service":{"vip":"nowhere"}}]`,
		"bad protocol":     `[` + good + `,{"op":"add-service","service":{"protocol":"icmp"}}]`,
		"weight too large": `[` + good + `,{"op":"add-destination","destination":{"weight":99999999999}}]`,
		"something behind": `[` + good + `] and more`,
		"two lists":        `[` + good + `][` + good + `]`,
		"too large":        "[" + good + strings.Repeat(" ", 5<<20) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := post(t, path, "/v1/changes", body)
			if status != http.StatusBadRequest || !strings.Contains(answer, `"error":"`) {
				t.Errorf("%d %s", status, answer)
			}
			if len(d.applied) > 0 {
				t.Errorf("applied %v", d.applied)
				d.applied = nil
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	path := serve(t, &director{})
	for target, want := range map[string]int{
		"/v1/services?protocol=icmp&vip=192.0.2.1:80&mark=0": http.StatusBadRequest,
		"/v1/services?protocol=tcp&vip=nowhere&mark=0":       http.StatusBadRequest,
		"/v1/services?protocol=tcp&vip=192.0.2.1:80&mark=-1": http.StatusBadRequest,
		"/v1/services?protocol=tcp":                          http.StatusBadRequest,
		"/v1/services?protocol=udp&vip=192.0.2.1:80&mark=0":  http.StatusUnprocessableEntity,
		"/v2/services": http.StatusNotFound,
		"/v1/changes":  http.StatusMethodNotAllowed,
	} {
		if status, answer := get(t, path, target); status != want {
			t.Errorf("%s: %d %s, want %d", target, status, answer, want)
		}
	}
}

func TestSocket(t *testing.T) {
	path := serve(t, &director{})
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if _, err := control.Dial(filepath.Join(t.TempDir(), "none")); !errors.Is(err, control.ErrNoDirector) {
		t.Errorf("no socket: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "dead")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	if _, err := control.Dial(dead); !errors.Is(err, control.ErrNoDirector) {
		t.Errorf("the socket of a killed director: %v", err)
	}
	s, err := control.Listen(dead, &director{})
	if err != nil {
		t.Fatalf("listen where a killed director did: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func httpClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

func post(t *testing.T, path, target, body string) (status int, answer string) {
	t.Helper()
	return read(t)(httpClient(path).Post("http://director"+target, "application/json", strings.NewReader(body)))
}

func get(t *testing.T, path, target string) (status int, answer string) {
	t.Helper()
	return read(t)(httpClient(path).Get("http://director" + target))
}

func read(t *testing.T) func(*http.Response, error) (int, string) {
	t.Helper()
	return func(r *http.Response, err error) (int, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
}

func FuzzChanges(f *testing.F) {
	f.Add(`[{"op":"flush"}]`)
	f.Add(`[{"op":"add-service","service":{"protocol":"tcp","vip":"192.0.2.1:80","scheduler":"rr"}}]`)
	f.Add(`[{"op":"add-destination","destination":{"rip":"[2001:db8::1]:80","forwarding":"masq","weight":-1}}]`)
	d := &director{}
	path := filepath.Join(f.TempDir(), "director.sock")
	s, err := control.Listen(path, d)
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	f.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, body string) {
		d.mu.Lock()
		d.applied = nil
		d.mu.Unlock()
		status, answer := post(t, path, "/v1/changes", body)
		if status != http.StatusOK && len(d.applied) > 0 {
			t.Errorf("%d %s, but applied %v", status, answer, d.applied)
		}
	})
}
