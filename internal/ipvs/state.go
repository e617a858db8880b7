// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"strings"
)

// states are what connections and persistence templates can be in, as ipvsadm
// prints it: of TCP, of UDP, of templates, of SCTP. KILLED is ours alone.
var states = []string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "KILLED",
	"UDP",
	"ASSURED",
	"INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
}

// ParseState reads the name of a connection's state, in any case. The empty text
// is any state.
func ParseState(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	for _, state := range states {
		if strings.EqualFold(text, state) {
			return state, nil
		}
	}
	return "", fmt.Errorf("%q: not one of %s", text, strings.Join(states, ", "))
}
