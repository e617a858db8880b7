// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/reference"
)

// makeElsewhere gives the namespace ways on to two VIPs, and tells which they are.
func (b *bench) makeElsewhere() (isElsewhere func(netip.Addr) bool) {
	b.t.Helper()
	vips := []netip.Addr{tunnelVIP.Addr(), inIPv6(tunnelVIP).Addr()}
	steps := []func() error{
		func() error { return host.AddVeth(host.VethEnd{Name: "elsewhere"}, host.VethEnd{Name: "there"}) },
		func() error { return host.SetUp("elsewhere") },
		func() error { return host.SetUp("there") },
	}
	for _, link := range []string{"lo", "there"} { // by which packets come in
		steps = append(steps,
			func() error { return host.InterfaceSysctl(link, "forwarding").Write(1) },
			func() error { return host.Sysctl("net/ipv6/conf/" + link + "/forwarding").Write(1) })
	}
	for _, vip := range vips {
		steps = append(steps, func() error {
			return host.AddRoute(netip.PrefixFrom(vip, vip.BitLen()), netip.Addr{}, "elsewhere")
		})
	}
	for _, do := range steps {
		if err := do(); err != nil {
			b.t.Fatal(err)
		}
	}
	return func(a netip.Addr) bool { return slices.Contains(vips, a) }
}

// attachOwn lets both see what the director itself sends, which comes in by an
// interface of its own.
func (p *pair) attachOwn() {
	p.t.Helper()
	own := uint32(linkIndex(p.t, "there"))
	at := &p.settings.Interfaces[own%uint32(len(p.settings.Interfaces))]
	at.Ifindex, at.Mtu = own, 65535
	at.Flags = uint32(directorInterfaceFlagsINTERFACE_GENERIC | directorInterfaceFlagsINTERFACE_LOCAL | directorInterfaceFlagsINTERFACE_HANDS_OVER)
	copy(at.Mac[:], ownMAC)
	p.settings.LocalIfindex = own
	p.model.SeesOwn = true
	if p.BalancesLocal() {
		p.leaving.fd = uint32(p.local.out.FD())
	}
}

// isHandedOver tells whether XDP left a packet to the program behind it, with so
// many bytes more.
func isHandedOver(v directorVerdict, action uint32, more int) bool {
	const work = 24 // sizeof(struct left)
	return action == xdpPass && (fateOf(v) != Passed || v == directorVerdictVERDICT_LOCAL && more == work)
}

// bothOut has both directors send a frame themselves and says what they did
// differently.
func (p *pair) bothOut(frame []byte) (verdict reference.Verdict, wrong string) {
	if !p.BalancesLocal() { // before Linux 6.6 nobody sees it
		return "", ""
	}
	p.model.Dice = p.dice
	want := p.model.Send(frame)
	if want.Verdict == "" {
		return "", ""
	}
	p.left = nil
	action, left, err := p.leaving.packet(frame, 0)
	switch {
	case err != nil:
		return want.Verdict, err.Error()
	case action != tcRedirect:
		return want.Verdict, p.compareOut(frame, action, left, want)
	case want.Verdict == reference.Alone:
		return want.Verdict, "redirected, want it left alone"
	case !bytes.Equal(left[:6], ownMAC) || !bytes.Equal(left[12:], frame[12:]):
		return want.Verdict, fmt.Sprintf("redirected as %x", left)
	}
	return p.decide(left, want, p.settings.LocalIfindex)
}

// compareOut says what is wrong with what the director sends at once.
func (p *pair) compareOut(in []byte, action uint32, left []byte, want reference.Outcome) string {
	const tcShot = 2
	if want.Verdict == reference.NoRoom && action == tcShot {
		p.sum.note(directorVerdictVERDICT_NO_ROOM, xdpDrop)
		return ""
	}
	out := in
	switch want.Verdict {
	case reference.Alone:
	case reference.Local:
		p.sum.note(directorVerdictVERDICT_LOCAL, xdpPass)
	case reference.MasqOut:
		p.sum.note(directorVerdictVERDICT_MASQ_OUT, xdpTX)
		out = want.Frame
	default:
		return fmt.Sprintf("sent by action %d, want %s", action, want.Verdict)
	}
	if action != tcNext || !bytes.Equal(left, out) {
		return fmt.Sprintf("%s, by action %d:\n%x, want\n%x", want.Verdict, action, left, out)
	}
	return ""
}
