// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"strings"
	"testing"
)

// The kernel puts fragments together, wraps the packet and cuts that; here each goes
// into a tunnel by itself, since XDP can keep none. What real servers get out of the
// tunnels and put together is the same, byte for byte, and the same real server's.
func TestTunnelFragmentRecordings(t *testing.T) {
	for _, r := range recordings(t, "tunnel-fragments") {
		t.Run(r.Name, func(t *testing.T) {
			b := newBench(t, r.Setup...)
			compared := 0
			var sent [][]byte
			for _, e := range r.Exchanges {
				if e.In == nil || e.In.Side != "client" {
					continue
				}
				packet, _, _ := strings.Cut(e.Label, ": ")
				o := b.send(clientMAC, unhex(t, e.In.Hex))
				if o.verdict == "tunnel" {
					sent = append(sent, unwrap(o.ip))
				}
				if len(e.Out) == 0 {
					continue // the rest comes, or nothing does
				}
				if _, other := otherFragments[packet]; !other {
					compared++
					if want := e.received(t); !bytes.Equal(content(sent), want) || o.mac.String() != e.Out[0].DstMAC {
						t.Errorf("%s: %s gets\n%x, want %s to get\n%x", e.Label, o.mac, content(sent), e.Out[0].DstMAC, want)
					}
				}
				sent = nil
			}
			if compared < 2 {
				t.Errorf("%d packets were compared", compared)
			}
		})
	}
}

// received is the content of what a real server gets out of a recorded tunnel.
func (e exchange) received(t *testing.T) []byte {
	t.Helper()
	var outer [][]byte
	for _, o := range e.Out {
		outer = append(outer, unhex(t, o.Hex))
	}
	first := outer[0]
	if len(outer) > 1 || first[0]>>4 == 6 && first[6] == 44 {
		first = whole(outer)
	}
	return content([][]byte{unwrap(first)})
}

// unwrap returns the packet in a tunnel of IPIP, GRE or GUE.
func unwrap(outer []byte) []byte {
	protocol, inner := outer[9], outer[20:]
	if outer[0]>>4 == 6 {
		protocol, inner = outer[6], outer[40:]
	}
	switch protocol {
	case 47: // GRE, perhaps with a checksum
		return inner[4+inner[0]>>7*4:]
	case 17: // GUE: a header of so many words behind its first
		return inner[12+inner[8]&0x1f*4:]
	}
	return inner
}

// content is whose a packet is, and what it carries, put together of its fragments.
func content(packets [][]byte) []byte {
	if len(packets) == 0 {
		return nil
	}
	packet := packets[0]
	if len(packets) > 1 {
		packet = whole(packets)
	}
	if packet[0]>>4 == 4 {
		return bytes.Join([][]byte{packet[9:10], packet[12:]}, nil)
	}
	return bytes.Join([][]byte{packet[6:7], packet[8:]}, nil)
}
