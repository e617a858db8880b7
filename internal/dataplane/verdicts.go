// SPDX-License-Identifier: Apache-2.0

package dataplane

import "sync/atomic"

// verdictNames are what users see of enum verdict (bpf/types/verdict.h);
// docs/verdicts.md says what each means and what to do.
var verdictNames = [directorVerdictVERDICT_COUNT]string{
	directorVerdictVERDICT_NOT_OURS:          "not-ours",
	directorVerdictVERDICT_OTHER_PROTOCOL:    "other-protocol",
	directorVerdictVERDICT_OTHER_HOST:        "other-host",
	directorVerdictVERDICT_MALFORMED:         "malformed",
	directorVerdictVERDICT_MARTIAN:           "martian",
	directorVerdictVERDICT_FRAGMENT:          "fragment",
	directorVerdictVERDICT_NO_CONNECTION:     "no-connection",
	directorVerdictVERDICT_UNRELATED:         "unrelated",
	directorVerdictVERDICT_LOCAL:             "local",
	directorVerdictVERDICT_BYPASS:            "bypass",
	directorVerdictVERDICT_REPLY_EXPIRED:     "reply-expired",
	directorVerdictVERDICT_UNTRUSTED:         "untrusted",
	directorVerdictVERDICT_MASQ_IN:           "masq-in",
	directorVerdictVERDICT_MASQ_OUT:          "masq-out",
	directorVerdictVERDICT_TUNNEL:            "tunnel",
	directorVerdictVERDICT_ROUTE:             "route",
	directorVerdictVERDICT_ERROR_IN:          "error-in",
	directorVerdictVERDICT_ERROR_OUT:         "error-out",
	directorVerdictVERDICT_NO_DESTINATION:    "no-destination",
	directorVerdictVERDICT_NO_ROUTE:          "no-route",
	directorVerdictVERDICT_TTL_EXCEEDED:      "ttl-exceeded",
	directorVerdictVERDICT_TOO_BIG:           "too-big",
	directorVerdictVERDICT_STRAY:             "stray",
	directorVerdictVERDICT_RESET:             "reset",
	directorVerdictVERDICT_DESTINATION_GONE:  "destination-gone",
	directorVerdictVERDICT_TABLE_FULL:        "table-full",
	directorVerdictVERDICT_NO_CALL_ID:        "no-call-id",
	directorVerdictVERDICT_NO_NEIGHBOUR:      "no-neighbour",
	directorVerdictVERDICT_NO_PORT:           "no-port",
	directorVerdictVERDICT_BAD_CHECKSUM:      "bad-checksum",
	directorVerdictVERDICT_ERROR_EXPIRED:     "error-expired",
	directorVerdictVERDICT_NEEDS_FRAGMENTING: "needs-fragmenting",
	directorVerdictVERDICT_MERGED:            "merged",
	directorVerdictVERDICT_NO_ROOM:           "no-room",
	directorVerdictVERDICT_DEFENCE:           "defence",
	directorVerdictVERDICT_UNANSWERED:        "unanswered",
	directorVerdictVERDICT_BAD_FRAGMENT:      "bad-fragment",
	directorVerdictVERDICT_LOOPBACK:          "loopback",
	directorVerdictVERDICT_EARLY:             "early",
	directorVerdictVERDICT_NO_PROGRAM:        "no-program",
	directorVerdictVERDICT_OUTER_FRAGMENT:    "outer-fragment",
	directorVerdictVERDICT_BAD_TUNNEL:        "bad-tunnel",
	directorVerdictVERDICT_NESTED:            "nested",
	directorVerdictVERDICT_NOT_VIP:           "not-vip",
}

// Fate is what happens to packets of a verdict.
type Fate string

// The fates.
const (
	Passed    Fate = "passed"    // to the kernel, untouched
	Forwarded Fate = "forwarded" // sent on
	Answered  Fate = "answered"  // with an ICMP error or a RST
	Dropped   Fate = "dropped"
)

// Verdict is one way out of the datapath and how many packets took it.
type Verdict struct {
	Name    string `json:"name"`
	Fate    Fate   `json:"fate"`
	Packets uint64 `json:"packets"`
}

func fateOf(v directorVerdict) Fate {
	switch {
	case v < directorVerdictVERDICT_MASQ_IN:
		return Passed
	case v < directorVerdictVERDICT_NO_DESTINATION:
		return Forwarded
	case v < directorVerdictVERDICT_DESTINATION_GONE:
		return Answered
	}
	return Dropped
}

// verdictCPUs is bpf/types/verdict.h: VERDICT_CPUS.
const verdictCPUs = 1024

// Verdicts returns what became of all packets since the maps were made, in the
// order of the datapath's enum. Their sum is the number of packets seen.
func (d *Dataplane) Verdicts() []Verdict {
	verdicts := make([]Verdict, directorVerdictVERDICT_COUNT)
	for i := range verdicts {
		verdicts[i] = Verdict{Name: verdictNames[i], Fate: fateOf(directorVerdict(i))}
		for cpu := range d.verdicts.at {
			verdicts[i].Packets += atomic.LoadUint64(&d.verdicts.at[cpu].Of[i])
		}
	}
	return verdicts
}
