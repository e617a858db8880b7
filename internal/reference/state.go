// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"strings"
	"time"
)

// State is a connection's.
type State uint8

// The states, in the kernel's order (IP_VS_TCP_S_*, IP_VS_SCTP_S_*). None is both
// protocols'.
const (
	None State = iota
	Established
	SynSent
	SynRecv
	FinWait
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	SynAck
	UDP
	Init1
	Init
	CookieSent
	CookieReplied
	CookieWait
	Cookie
	CookieEchoed
	Associated // SCTP's ESTABLISHED
	ShutdownSent
	ShutdownReceived
	ShutdownAckSent
	Rejected
	Closed
	Killed // by a user: not the kernel's
	states
)

// stateTimeouts are the kernel's defaults.
var stateTimeouts = [states]time.Duration{
	None:        2 * time.Second,
	Established: 900 * time.Second,
	SynSent:     120 * time.Second,
	SynRecv:     60 * time.Second,
	FinWait:     120 * time.Second,
	TimeWait:    120 * time.Second,
	Close:       10 * time.Second,
	CloseWait:   60 * time.Second,
	LastAck:     30 * time.Second,
	Listen:      120 * time.Second,
	SynAck:      120 * time.Second,
	UDP:         300 * time.Second,

	Init1:            4 * time.Second,
	Init:             61 * time.Second,
	CookieSent:       61 * time.Second,
	CookieReplied:    61 * time.Second,
	CookieWait:       61 * time.Second,
	Cookie:           61 * time.Second,
	CookieEchoed:     61 * time.Second,
	Associated:       900 * time.Second,
	ShutdownSent:     61 * time.Second,
	ShutdownReceived: 61 * time.Second,
	ShutdownAckSent:  61 * time.Second,
	Rejected:         4 * time.Second,
	Closed:           61 * time.Second,

	Killed: 10 * time.Second,
}

var stateNames = [states]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "UDP",
	"INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
	"KILLED",
}

// String returns the name that ipvsadm -Lc prints.
func (s State) String() string {
	return stateNames[s]
}

// active tells whether a connection counts as ActiveConn.
func (s State) active() bool {
	return s == Established || s == SynSent || s == SynRecv || s == SynAck || s == Associated
}

// direction is a part of a state table.
type direction int

const (
	input direction = iota
	output
	inputOnly
)

// stateTable has a row for each state; its columns are the events of each
// direction.
type stateTable struct {
	events int
	rows   map[State][]State
}

func (t *stateTable) next(s State, d direction, event int) State {
	if event < 0 {
		return Close
	}
	return t.rows[s][int(d)*t.events+event]
}

// readStates reads a table as text: the state's abbreviation first, a dot for no
// change. The names are those of None and of the states from second on.
func readStates(events int, second State, names, text string) *stateTable {
	states := make(map[string]State)
	for i, name := range strings.Fields(names) {
		if i > 0 {
			states[name] = second + State(i-1)
		}
	}
	t := &stateTable{events: events, rows: make(map[State][]State)}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		words := strings.Fields(strings.ReplaceAll(line, "|", " "))
		row := make([]State, len(words)-1)
		for i, word := range words[1:] {
			if word == "." {
				word = words[0]
			}
			row[i] = states[word]
		}
		t.rows[states[words[0]]] = row
	}
	return t
}

// tcpStates is tcp_states of ip_vs_proto_tcp.c. Input: client's packets where
// both sides are seen; input only: where the server's are not.
var tcpStates = readStates(4, Established, "NO ES SS SR FW TW CL CW LA LI SA", `
NO | SR CL ES CL | SS TW ES CL | SR CL ES CL
ES | .  CW .  CL | .  FW .  CL | .  FW .  CL
SS | ES .  .  CL | .  .  .  .  | ES .  .  CL
SR | .  TW ES .  | .  TW ES CL | .  TW ES .
FW | SR TW .  CL | SS .  .  CL | SR .  .  CL
TW | SR .  .  CL | SS .  .  .  | SR .  .  CL
CL | SR .  .  .  | SS .  .  .  | SR .  .  .
CW | SR .  .  CL | SS TW .  CL | SR .  .  CL
LA | SR .  CL .  | SS .  .  CL | SR .  CL .
LI | SR .  .  .  | .  .  ES CL | SR .  .  .
SA | SR TW ES SR | SR TW ES CL | SR TW ES CL
`)

// secureStates is tcp_states_dos, which secure_tcp puts in its place.
var secureStates = readStates(4, Established, "NO ES SS SR FW TW CL CW LA LI SA", `
NO | SR CL ES CL | SS TW ES CL | SA CL ES CL
ES | .  CW .  CL | .  FW .  CL | .  FW .  CL
SS | ES .  .  CL | .  .  .  .  | ES .  .  CL
SR | .  TW .  .  | SA TW ES CL | .  TW ES .
FW | SR TW .  CL | SS .  .  CL | SA .  .  CL
TW | SR .  .  CL | SS .  .  .  | SA .  .  CL
CL | SR .  .  .  | SS .  .  .  | SA .  .  .
CW | SR .  .  CL | SS TW .  CL | SA .  .  CL
LA | SR .  CL .  | SS .  .  CL | SA .  CL .
LI | SR .  .  .  | .  .  ES CL | SA .  .  .
SA | .  .  .  CL | .  TW ES CL | .  TW ES CL
`)

// The flags of a TCP segment.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// The columns of a state table.
const (
	eventSYN = iota
	eventFIN
	eventACK
	eventRST
)

// tcpEvent is the column of a segment's flags; -1 for none of them, which closes
// from any state (tcp_state_idx).
func tcpEvent(flags byte) int {
	switch {
	case flags&flagRST != 0:
		return eventRST
	case flags&flagSYN != 0:
		return eventSYN
	case flags&flagFIN != 0:
		return eventFIN
	case flags&flagACK != 0:
		return eventACK
	}
	return -1
}
