// SPDX-License-Identifier: Apache-2.0

package reference

// Verdict is what becomes of a packet, by the names of docs/verdicts.md.
type Verdict string

// The verdicts, all of the datapath's.
const (
	NotOurs          Verdict = "not-ours"
	OtherProtocol    Verdict = "other-protocol"
	OtherHost        Verdict = "other-host"
	Malformed        Verdict = "malformed"
	Martian          Verdict = "martian"
	Fragment         Verdict = "fragment"
	NoConnection     Verdict = "no-connection"
	Unrelated        Verdict = "unrelated"
	Local            Verdict = "local"
	ReplyExpired     Verdict = "reply-expired"
	MasqIn           Verdict = "masq-in"
	MasqOut          Verdict = "masq-out"
	Tunnel           Verdict = "tunnel"
	Route            Verdict = "route"
	ErrorIn          Verdict = "error-in"
	ErrorOut         Verdict = "error-out"
	NoDestination    Verdict = "no-destination"
	NoRoute          Verdict = "no-route"
	TTLExceeded      Verdict = "ttl-exceeded"
	TooBig           Verdict = "too-big"
	DestinationGone  Verdict = "destination-gone"
	NoNeighbour      Verdict = "no-neighbour"
	BadChecksum      Verdict = "bad-checksum"
	ErrorExpired     Verdict = "error-expired"
	NeedsFragmenting Verdict = "needs-fragmenting"
	BadFragment      Verdict = "bad-fragment"
	Stray            Verdict = "stray"
	Unanswered       Verdict = "unanswered"
	Reset            Verdict = "reset"
	NoRoom           Verdict = "no-room"
	Loopback         Verdict = "loopback"
	NoCallID         Verdict = "no-call-id"
	Defence          Verdict = "defence"
	Merged           Verdict = "merged"
	NoPort           Verdict = "no-port"
	TableFull        Verdict = "table-full"
	Bypass           Verdict = "bypass"
)

// Outcome is what became of a packet.
type Outcome struct {
	Verdict Verdict
	State   State  // of its connection after it, if it went by one
	Frame   []byte // as it left, good until the next packet; nil: it was not sent
	// NewHeader tells that the IP header in front is the director's own; its
	// ID, which is anyone's guess, is 0.
	NewHeader bool
}

// by is what becomes of a packet that was to leave by a way.
func (o Outcome) by(way Way) Outcome {
	if way.NoPort {
		return Outcome{Verdict: NoPort, State: o.State}
	}
	return o
}
