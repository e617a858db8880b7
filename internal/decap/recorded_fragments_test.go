// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel's IPVS was recorded to send in fragments arrives as what they
// make together.
func TestRecordedFragments(t *testing.T) {
	d := loadForAll(t)
	members := map[Set][]string{
		Directors: {"192.168.1.1", "2001:db8:1::1"}, RIPs: {"192.168.1.11", "2001:db8:1::11"}, VIPs: {"10.0.0.80", "2001:db8::80"},
	}
	for set, texts := range members {
		for _, text := range texts {
			if err := d.Add(set, netip.MustParseAddr(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	played := 0
	for _, recordings := range []string{"tunnel-fragments/*", "packets/[ig][pru]*-mtu"} {
		files, err := filepath.Glob("../dataplane/testdata/" + recordings + ".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				for _, fragments := range recordedFragments(t, file) {
					played++
					want := innermost(t, fragments)
					got := receive(t, handOn(t, d, fragments))
					if !isIPv6(want) && want[6]&0x40 != 0 {
						copy(want[4:], idOf(fragments[0])) // not to be fragmented, so its own means nothing
						setHeaderSum(want)
					}
					if !bytes.Equal(got, want) {
						t.Errorf("packet is\n%x, want\n%x", got, want)
					}
				}
			})
		}
	}
	if played < 50 {
		t.Errorf("%d packets in fragments are recorded", played)
	}
}

// recordedFragments returns what a kernel sent in more than one fragment.
func recordedFragments(t *testing.T, file string) (packets [][][]byte) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Exchanges []struct{ Out []struct{ Side, Hex string } }
	}
	if err := json.Unmarshal(content, &recording); err != nil {
		t.Fatal(err)
	}
	for _, e := range recording.Exchanges {
		var fragments [][]byte
		for _, o := range e.Out {
			out, err := hex.DecodeString(o.Hex)
			if err != nil {
				t.Fatal(err)
			}
			if o.Side == "server" && isTunneled(out) {
				fragments = append(fragments, out)
			}
		}
		if len(fragments) > 1 {
			packets = append(packets, fragments)
		}
	}
	return packets
}

func isTunneled(packet []byte) bool {
	protocol := *protocolOf(packet)
	if protocol == unix.IPPROTO_FRAGMENT {
		protocol = packet[40]
	}
	return slices.Contains([]byte{unix.IPPROTO_IPIP, unix.IPPROTO_IPV6, unix.IPPROTO_GRE, unix.IPPROTO_UDP}, protocol)
}

// innermost puts outer fragments together and returns the packet inside.
func innermost(t *testing.T, fragments [][]byte) []byte {
	t.Helper()
	outer := receive(t, fragments)
	content := outer[headerOf(outer):]
	switch *protocolOf(outer) {
	case unix.IPPROTO_GRE:
		if content[0]&0x80 != 0 {
			content = content[4:]
		}
		return content[4:]
	case unix.IPPROTO_UDP:
		return content[12:]
	}
	return content
}
