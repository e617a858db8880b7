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
	Early            Verdict = "early"
	NoProgram        Verdict = "no-program"
	Untrusted        Verdict = "untrusted"
	OuterFragment    Verdict = "outer-fragment"
	BadTunnel        Verdict = "bad-tunnel"
	Nested           Verdict = "nested"
	NotVIP           Verdict = "not-vip"
)

// passes tells of what the kernel gets.
func (v Verdict) passes() bool {
	switch v {
	case NotOurs, OtherProtocol, OtherHost, Malformed, Martian, Fragment, NoConnection, Unrelated, Local, Bypass, ReplyExpired, Untrusted:
		return true
	}
	return false
}

// Program is one of those that a director is made of: what few packets need is apart,
// and packets of it are lost where that is taken away.
type Program string

// The programs.
const (
	ProgramDirector Program = "director" // which the others give packets back to
	ProgramError    Program = "error"    // ICMP
	ProgramFragment Program = "fragment"
	ProgramFront    Program = "front"
)

// Outcome is what became of a packet.
type Outcome struct {
	Verdict Verdict
	State   State // of its connection after it, if it went by one
	// Frame is as it left, good until the next packet. Nil: it was not sent, or the
	// kernel got it as it came.
	Frame []byte
	// Unwrapped is how many bytes of a front's tunnel are off.
	Unwrapped int
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
