// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// tcpTable is tcp_states of net/netfilter/ipvs/ip_vs_proto_tcp.c, a row for each
// state: what SYN, FIN, ACK and RST make of it, from the client where both sides
// are seen, from the server, and from the client where it alone is seen.
const tcpTable = `
NO  SR CL ES CL  SS TW ES CL  SR CL ES CL
ES  ES CW ES CL  ES FW ES CL  ES FW ES CL
SS  ES SS SS CL  SS SS SS SS  ES SS SS CL
SR  SR TW ES SR  SR TW ES CL  SR TW ES SR
FW  SR TW FW CL  SS FW FW CL  SR FW FW CL
TW  SR TW TW CL  SS TW TW TW  SR TW TW CL
CL  SR CL CL CL  SS CL CL CL  SR CL CL CL
CW  SR CW CW CL  SS TW CW CL  SR CW CW CL
LA  SR LA CL LA  SS LA LA CL  SR LA CL LA
LI  SR LI LI LI  LI LI ES CL  SR LI LI LI
SA  SR TW ES SR  SR TW ES CL  SR TW ES CL
`

// secureTable is tcp_states_dos.
const secureTable = `
NO  SR CL ES CL  SS TW ES CL  SA CL ES CL
ES  ES CW ES CL  ES FW ES CL  ES FW ES CL
SS  ES SS SS CL  SS SS SS SS  ES SS SS CL
SR  SR TW SR SR  SA TW ES CL  SR TW ES SR
FW  SR TW FW CL  SS FW FW CL  SA FW FW CL
TW  SR TW TW CL  SS TW TW TW  SA TW TW CL
CL  SR CL CL CL  SS CL CL CL  SA CL CL CL
CW  SR CW CW CL  SS TW CW CL  SA CW CW CL
LA  SR LA CL LA  SS LA LA CL  SA LA CL LA
LI  SR LI LI LI  LI LI ES CL  SA LI LI LI
SA  SA SA SA CL  SA TW ES CL  SA TW ES CL
`

var tcpWords = map[string]string{
	"NO": "NONE", "ES": "ESTABLISHED", "SS": "SYN_SENT", "SR": "SYN_RECV", "FW": "FIN_WAIT", "TW": "TIME_WAIT",
	"CL": "CLOSE", "CW": "CLOSE_WAIT", "LA": "LAST_ACK", "LI": "LISTEN", "SA": "SYNACK",
}

// Every state, every event, on both sides: the kernel's next state and its time.
func TestStateTable(t *testing.T) {
	t.Run("secure_tcp 0", func(t *testing.T) { checkStates(t, "0", tcpTable) })
	t.Run("secure_tcp 3", func(t *testing.T) { checkStates(t, "3", secureTable) })
}

func checkStates(t *testing.T, secure, table string) {
	t.Helper()
	for _, half := range []struct {
		name, method string
		column       int
		send         func(*bench, string) outcome
	}{
		{"input", "-m", 1, func(b *bench, flags string) outcome { return b.send(clientMAC, tcp(client, vip, flags)) }},
		{"output", "-m", 5, func(b *bench, flags string) outcome { return b.send(serverMAC(11), tcp(server11, client, flags)) }},
		{"input alone", "-g", 9, func(b *bench, flags string) outcome { return b.send(clientMAC, tcp(client, vip, flags)) }},
	} {
		b := established(t, half.method)
		for state, line := range strings.Split(strings.TrimSpace(table), "\n") {
			words := strings.Fields(line)
			for flags, column := range map[string]int{
				"S": 0, "SA": 0, "SF": 0, "F": 1, "FA": 1, "A": 2, "PA": 2, "R": 3, "RA": 3, "FSRPA": 3, "": -1, "P": -1,
			} {
				want := "CLOSE"
				if column >= 0 {
					want = tcpWords[words[half.column+column]]
				}
				if flags == "FSRPA" && half.name != "output" && (words[0] == "TW" || words[0] == "CL") {
					continue // handled as a new connection's, see TestSynRst
				}
				t.Run(fmt.Sprintf("%s %s %q", half.name, words[0], flags), func(t *testing.T) {
					b.t = t
					b.clearConns()
					clear(b.loads.at)
					b.set("secure_tcp", "0")
					b.shakeHands(half.method)
					b.set("secure_tcp", secure)
					b.force(directorState(state))
					if o := half.send(b, flags); o.state != want {
						t.Errorf("%s, want %s", o.state, want)
					}
					b.checkTimer(want)
					b.ageAll()
					b.checkLoads()
				})
			}
		}
	}
}

// force puts the only connection into a state, and its destination's count right.
func (b *bench) force(state directorState) {
	entry := b.entry()
	*entry.life = *entry.life&^(lifeStateMask<<lifeStateShift) | uint32(state)<<lifeStateShift
	active := uint32(0)
	if isActive(state) {
		active = 1
	}
	atomic.StoreUint32(&b.loads.at[entry.conn.Dest].Active, active)
}

// checkTimer looks whether the connection that lives has its state's whole time.
func (b *bench) checkTimer(state string) {
	b.t.Helper()
	conns := b.conns()
	if len(conns) != 1 {
		b.t.Fatalf("%d connections", len(conns))
	}
	for i, name := range stateNames {
		if off := stateTimeouts[i] - conns[0].Expires; name == state && (off < 0 || off > time.Second/8) {
			b.t.Errorf("%s expires in %s, want %s", name, conns[0].Expires, stateTimeouts[i])
		}
	}
}

// A SYN that resets, too, opens no connection.
func TestSynRst(t *testing.T) {
	for _, method := range []string{"-m", "-g"} {
		b := established(t, method)
		b.force(directorStateSTATE_TIME_WAIT)
		for _, c := range []netip.AddrPort{client, clientNumber(1)} {
			if o := b.send(clientMAC, tcp(c, vip, "SR")); o.verdict != "no-connection" || len(b.conns()) > 1 {
				t.Errorf("%s: %s, %v", method, o.verdict, b.conns())
			}
		}
		b.checkLoads()
	}
}

// Each state can be asked for.
func TestStatesHaveNames(t *testing.T) {
	for _, name := range stateNames {
		if got, err := ipvs.ParseState(name); got != name || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
