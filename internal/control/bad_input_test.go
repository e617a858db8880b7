// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/ipvs"
)

// What cannot be read whole is refused, and none of it is done.
func TestBadBodies(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	good := `{"op":"flush"}`
	for name, body := range map[string]string{
		"empty":             "",
		"no JSON":           "flush",
		"no list":           good,
		"cut":               "[" + good + ",",
		"unknown field":     `[` + good + `,{"op":"flush","force":true}]`,
		"wrong type":        `[` + good + `,{"op":5}]`,
		"unknown operation": `[` + good + `,{"op":"explode"}]`,
		"bad address":       `[` + good + `,{"op":"add-service","service":{"vip":"nowhere"}}]`,
		"bad protocol":      `[` + good + `,{"op":"add-service","service":{"protocol":"icmp"}}]`,
		"weight too large":  `[` + good + `,{"op":"add-destination","destination":{"weight":99999999999}}]`,
		"something behind":  `[` + good + `] and more`,
		"two lists":         `[` + good + `][` + good + `]`,
		"too large":         "[" + good + strings.Repeat(" ", 5<<20) + "]",
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

// The same, in the form that many changes have.
func TestBadGob(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	encode := func(changes ...ipvs.Change) string {
		var buffer bytes.Buffer
		if err := gob.NewEncoder(&buffer).Encode(changes); err != nil {
			t.Fatal(err)
		}
		return buffer.String()
	}
	flush := ipvs.Change{Op: ipvs.Flush}
	good := encode(flush)
	for name, body := range map[string]string{
		"empty":             "",
		"JSON":              `[{"op":"flush"}]`,
		"cut":               good[:len(good)-1],
		"something behind":  good + "more",
		"two lists":         good + good,
		"too large":         encode(slices.Repeat([]ipvs.Change{{Op: ipvs.Flush, Service: ipvs.Service{Scheduler: strings.Repeat("r", 1000)}}}, 5000)...),
		"unknown operation": encode(flush, ipvs.Change{Op: "explode"}),
		"unknown protocol":  encode(flush, ipvs.Change{Op: ipvs.AddService, Service: ipvs.Service{Key: ipvs.Key{Protocol: 1}}}),
		"unknown method":    encode(flush, ipvs.Change{Op: ipvs.AddDestination, Destination: ipvs.Destination{Forwarding: 9}}),
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := read(t)(httpClient(path).Post("http://director/v1/changes", "application/x-gob", strings.NewReader(body)))
			if status != http.StatusBadRequest || !strings.Contains(answer, `"error":"`) {
				t.Errorf("%d %s", status, answer)
			}
			if len(d.applied) > 0 {
				t.Errorf("applied %v", d.applied)
				d.applied = nil
			}
		})
	}
	status, answer := read(t)(httpClient(path).Post("http://director/v1/changes", "application/x-gob", strings.NewReader(good)))
	if status != http.StatusOK || len(d.applied) != 1 {
		t.Errorf("a good one: %d %s", status, answer)
	}
}

func TestBadTimeouts(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	for _, body := range []string{"", "5", `{"tcp":-1}`, `{"tcp":4294967296}`, `{"tcp":1,"sctp":1}`, `{"tcp":1}{"udp":1}`} {
		status, answer := read(t)(put(path, "/v1/timeouts", body))
		if status != http.StatusBadRequest || !strings.Contains(answer, `"error":"read timeouts: `) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if d.timeouts != (ipvs.Timeouts{}) {
		t.Errorf("set %+v", d.timeouts)
	}
}

func TestBadSettings(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	for _, body := range []string{"", `"sloppy_tcp"`, `{"name":"sloppy_tcp","value":1}`, `{"name":"a","value":"1","force":true}`} {
		status, answer := read(t)(put(path, "/v1/settings", body))
		if status != http.StatusBadRequest || !strings.Contains(answer, `"error":"read setting: `) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if len(d.set) > 0 {
		t.Errorf("set %q", d.set)
	}
}

func TestBadMarkRules(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	for _, body := range []string{
		"", "{}", `[{"vip":"nowhere"}]`, `[{"vip":"192.0.2.1/32","ports":"90-80","mark":1}]`, `[{"vip":"192.0.2.1/32","protocol":"icmp","mark":1}]`,
		`[{"vip":"192.0.2.1/32","mark":-1}]`, `[{"vip":"192.0.2.1/32","mark":1,"color":"red"}]`,
	} {
		status, answer := post(t, path, "/v1/marks", body)
		if status != http.StatusBadRequest || !strings.Contains(answer, `"error":"read mark rules: `) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if rules := d.marks.All(); len(rules) > 0 {
		t.Errorf("added %v", rules)
	}
}

// Nobody kills all connections by leaving something out.
func TestBadKills(t *testing.T) {
	d := &director{}
	path := serve(t, d)
	for _, query := range []string{"", "?all=false", "?all=1", "?client=", "?client=nobody", "?all=true&server=192.0.2.0/99"} {
		if status, answer := post(t, path, "/v1/connections/kill"+query, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, answer)
		}
	}
	if len(d.set) > 0 {
		t.Errorf("told %q", d.set)
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

// slow answers when it is let to.
type slow struct {
	director
	asked, let chan struct{}
}

func (s *slow) Status() (control.Status, error) {
	close(s.asked)
	<-s.let
	return s.director.Status()
}

// The director gives its memory back when Run has returned: nobody may be
// reading it then, not even for one who has been hung up on.
func TestRunWaitsForAnswers(t *testing.T) {
	d := &slow{asked: make(chan struct{}), let: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "director.sock")
	s, err := control.Listen(path, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended, hungUp := make(chan error, 1), make(chan struct{})
	go func() { ended <- s.Run(ctx) }()
	client := dial(t, path)
	go func() {
		_, _ = client.Status()
		close(hungUp)
	}()
	<-d.asked
	stop()
	<-hungUp
	select {
	case err := <-ended:
		t.Errorf("Run returned, with %v, while the director was asked", err)
	default:
	}
	close(d.let)
	if err := <-ended; err != nil {
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

func put(path, target, body string) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodPut, "http://director"+target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return httpClient(path).Do(request)
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
