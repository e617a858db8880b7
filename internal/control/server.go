// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// maxBody is more than a thousand changes of the longest kind take.
const maxBody = 4 << 20

// Server answers on a director's socket.
type Server struct {
	listener  net.Listener
	http      http.Server
	answering sync.RWMutex // held by each answer, and by Run from its end on
}

// Listen makes the socket, which only root can open. A socket that a killed
// director left behind is replaced: the caller holds the namespace's lock.
func Listen(path string, director Director) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket: %w", err), listener.Close())
	}
	s := &Server{listener: listener}
	answer := handler(director)
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answering.RLock()
		defer s.answering.RUnlock()
		answer.ServeHTTP(w, r)
	})
	s.http.ReadHeaderTimeout = 10 * time.Second
	return s, nil
}

// Run answers until the context ends, finishes what is being answered, and
// removes the socket. Afterwards the director is not asked any more: it may
// give its memory back.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.shutDown()
	})
	err := s.http.Serve(s.listener)
	// Serve returns when Shutdown begins, not when it is done.
	if stop() {
		s.shutDown()
	} else {
		<-stopped
	}
	s.answering.Lock()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// shutDown hangs up on those who do not take their answer in time.
func (s *Server) shutDown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what it says of the listener is known
	}
}

func handler(d Director) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/changes", func(w http.ResponseWriter, r *http.Request) { serveChanges(w, r, d) })
	mux.HandleFunc("GET /v1/services", func(w http.ResponseWriter, r *http.Request) { serveServices(w, r, d) })
	mux.HandleFunc("GET /v1/connections", func(w http.ResponseWriter, r *http.Request) { serveConns(w, r, d) })
	mux.HandleFunc("POST /v1/connections/kill", func(w http.ResponseWriter, r *http.Request) { serveKill(w, r, d) })
	mux.HandleFunc("GET /v1/timeouts", func(w http.ResponseWriter, r *http.Request) {
		timeouts, err := d.Timeouts()
		answer(w, timeouts, err)
	})
	mux.HandleFunc("PUT /v1/timeouts", func(w http.ResponseWriter, r *http.Request) { serveSetTimeouts(w, r, d) })
	mux.HandleFunc("GET /v1/settings", func(w http.ResponseWriter, _ *http.Request) {
		settings, err := d.Settings()
		answer(w, settings, err)
	})
	mux.HandleFunc("PUT /v1/settings", func(w http.ResponseWriter, r *http.Request) { serveSet(w, r, d) })
	mux.HandleFunc("GET /v1/marks", func(w http.ResponseWriter, r *http.Request) {
		rules, err := d.MarkRules()
		answer(w, rules, err)
	})
	mux.HandleFunc("POST /v1/marks", func(w http.ResponseWriter, r *http.Request) { serveAddMarkRules(w, r, d) })
	mux.HandleFunc("DELETE /v1/marks", func(w http.ResponseWriter, r *http.Request) { serveDeleteMarkRules(w, r, d) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := d.Status()
		answer(w, status, err)
	})
	return mux
}

// readBody reads one JSON value that takes the whole body.
func readBody(w http.ResponseWriter, r *http.Request, value any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end")
	}
	return nil
}

func serveSetTimeouts(w http.ResponseWriter, r *http.Request, d Director) {
	var timeouts ipvs.Timeouts
	if err := readBody(w, r, &timeouts); err != nil {
		reject(w, fmt.Errorf("read timeouts: %w", err))
		return
	}
	answer(w, result{}, d.SetTimeouts(timeouts))
}

func serveSet(w http.ResponseWriter, r *http.Request, d Director) {
	var s setting
	if err := readBody(w, r, &s); err != nil {
		reject(w, fmt.Errorf("read setting: %w", err))
		return
	}
	answer(w, result{}, d.Set(s.Name, s.Value))
}

// serveServices answers with all services, or the one that the query names.
func serveServices(w http.ResponseWriter, r *http.Request, d Director) {
	if r.URL.RawQuery == "" {
		services, err := d.Services()
		if err == nil && r.Header.Get("Accept") == gobType {
			w.Header().Set("Content-Type", gobType)
			// A client that is gone cannot be told.
			_ = gob.NewEncoder(w).Encode(services)
			return
		}
		answer(w, services, err)
		return
	}
	key, err := parseKey(r)
	if err != nil {
		reject(w, err)
		return
	}
	service, err := d.Service(key)
	answer(w, service, err)
}

func parseKey(r *http.Request) (key ipvs.Key, err error) {
	query := r.URL.Query()
	if err := key.Protocol.UnmarshalText([]byte(query.Get("protocol"))); err != nil {
		return key, err
	}
	if key.VIP, err = netip.ParseAddrPort(query.Get("vip")); err != nil {
		return key, fmt.Errorf("read vip: %w", err)
	}
	mark, err := strconv.ParseUint(query.Get("mark"), 10, 32)
	if err != nil {
		return key, fmt.Errorf("read mark: %w", err)
	}
	key.Mark = uint32(mark)
	return key, nil
}

func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		respond(w, http.StatusUnprocessableEntity, toResult(0, err))
		return
	}
	respond(w, http.StatusOK, value)
}

func reject(w http.ResponseWriter, err error) {
	respond(w, http.StatusBadRequest, toResult(0, err))
}

func respond(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone cannot be told.
	_ = json.NewEncoder(w).Encode(value)
}
