// SPDX-License-Identifier: Apache-2.0

// Package control is how commands and a running director talk: HTTP with JSON
// bodies (many changes at once may be gob, too) on a unix socket that only root can open. It carries changes,
// services, connections and status, and decides nothing.
package control

import (
	"net/netip"
	"path/filepath"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// SocketPath returns the director's socket in the state directory of a network
// namespace.
func SocketPath(stateDir string) string {
	return filepath.Join(stateDir, "director.sock")
}

// Director is what a server makes available. Its methods are called from many
// goroutines.
type Director interface {
	// Apply makes the changes in order and stops at the first that is refused.
	Apply(changes ...ipvs.Change) (applied int, err error)
	Services() ([]ipvs.ServiceStatus, error)
	Service(ipvs.Key) (ipvs.ServiceStatus, error)
	Conns(yield func(ipvs.Conn) error) error
	// Kill ends the connections that the filter chooses, or only counts them.
	Kill(filter ipvs.ConnFilter, countOnly bool) (ipvs.Killed, error)
	Timeouts() (ipvs.Timeouts, error)
	SetTimeouts(ipvs.Timeouts) error // zero leaves one as it is
	Settings() ([]ipvs.Setting, error)
	Set(name, value string) error
	MarkRules() ([]ipvs.MarkRule, error)
	AddMarkRules(rules ...ipvs.MarkRule) error                       // all or none
	DeleteMarkRules(rules ...ipvs.MarkRule) (deleted int, err error) // whatever their mark
	Status() (Status, error)
}

// Status is a director's state of health.
type Status struct {
	Version     string       `json:"version"`
	PID         int          `json:"pid"`
	Started     time.Time    `json:"started"`
	Services    int          `json:"services"`
	Connections Connections  `json:"connections"`
	Interfaces  []Interface  `json:"interfaces"`
	Fronts      []netip.Addr `json:"fronts,omitempty"` // directors that send packets here in tunnels
	Verdicts    []Verdict    `json:"verdicts"`
	Problems    []string     `json:"problems,omitempty"` // what keeps packets from being forwarded, and what to do
}

// Connections is how full the connection table is.
type Connections struct {
	Live     int `json:"live"`
	Capacity int `json:"capacity"`
}

// Interface is one that the datapath runs on.
type Interface struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	Mode  string `json:"mode"` // of XDP: native or generic
}

// Verdict is one way out of the datapath and how many packets took it.
type Verdict struct {
	Name    string `json:"name"`
	Fate    string `json:"fate"` // passed, forwarded, answered or dropped
	Packets uint64 `json:"packets"`
}

// setting asks for a new value.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// deletion is the answer to the deletion of mark rules.
type deletion struct {
	Deleted int `json:"deleted"`
}
