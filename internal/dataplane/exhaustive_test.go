// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// kinds are packets of each kind that the datapath looks at, for a connection
// of each method.
func kinds(method string) map[string][]byte {
	kinds := map[string][]byte{
		"segment":  tcp(client, vip, "PA", []byte("payload")...),
		"SYN":      tcp(clientNumber(1), vip, "S"),
		"datagram": udp(client, vip, []byte("payload")...),
		"INIT":     sctp(client, vip, chunk(chunkInit, 20)),
		"error":    icmpError(client.Addr(), vip.Addr(), 3, 3, 0, tcp(vip, client, "A")),
	}
	switch method {
	case "-m":
		kinds["reply"] = tcp(server11, client, "PA", []byte("payload")...)
		kinds["server's error"] = icmpError(server11.Addr(), client.Addr(), 3, 3, 0, tcp(client, server11, "A"))
	case "-i":
		quoted := ipv4(directorAddress, server11.Addr(), 4, tcp(client, vip, "A"))
		kinds["tunnel's error"] = icmpError(netip.MustParseAddr("192.168.1.254"), directorAddress, 3, 4, 1400, quoted)
	}
	return kinds
}

// eachKind gives f every kind of packet with a connection that it is about.
func eachKind(t *testing.T, f func(b *bench, ip []byte) (wrong string)) {
	t.Helper()
	for _, method := range []string{"-m", "-i", "-g"} {
		for kind, ip := range kinds(method) {
			t.Run(method+" "+kind, func(t *testing.T) {
				b := established(t, method)
				b.apply("-A -u 10.0.0.80:80 -s rr", "-a -u 10.0.0.80:80 -r 192.168.1.11:80 "+method,
					"-A --sctp-service 10.0.0.80:80 -s rr", "-a --sctp-service 10.0.0.80:80 -r 192.168.1.11:80 "+method)
				if wrong := f(b, ip); wrong != "" {
					t.Error(wrong)
				}
				b.checkLoads()
			})
		}
	}
}

// A frame cut off anywhere is passed on as it is; one that says of itself that
// it is short may be forwarded if enough is there.
func TestCutAnywhere(t *testing.T) {
	eachKind(t, func(b *bench, ip []byte) string {
		whole := frame(clientMAC, ip)
		for length := range whole {
			o, err := b.try(whole[:length])
			if length < 14 {
				if !errors.Is(err, unix.EINVAL) {
					return fmt.Sprintf("%d bytes: %v", length, err)
				}
				continue
			}
			if err != nil || o.action != xdpPass || o.verdict != "malformed" && o.verdict != "other-protocol" {
				return fmt.Sprintf("%d bytes: %s, %v", length, o.verdict, err)
			}
			if length < 34 {
				continue
			}
			honest := frame(clientMAC, setLength(ip, length-14))
			mend(honest[14:length])
			for _, f := range [][]byte{honest[:length], honest} {
				o := b.sendFrame(f)
				if wrong := b.checkShort(f, o); wrong != "" {
					return fmt.Sprintf("%d bytes: %s (%s)", length, wrong, o.verdict)
				}
			}
		}
		return ""
	})
}

// checkShort is check, without a look at the fuzzed services' ports.
func (b *bench) checkShort(in []byte, o outcome) string {
	if o.verdict == "masq-in" {
		return checkChanged(in[14:], o.ip)
	}
	return check(in, o)
}

// Every header length with every length of the packet that it could lie about.
func TestEveryHeaderLength(t *testing.T) {
	eachKind(t, func(b *bench, ip []byte) string {
		for words := range 16 {
			for _, length := range []int{0, 19, 20, words*4 - 1, words * 4, words*4 + 7, words*4 + 8, words*4 + 20, len(ip), 65535} {
				f := frame(clientMAC, append(ip[:len(ip):len(ip)], make([]byte, 60)...))
				f[14] = 4<<4 | byte(words)
				binary.BigEndian.PutUint16(f[16:], uint16(max(length, 0)))
				mend(f[14:])
				o := b.sendFrame(f)
				if wrong := b.checkShort(f, o); wrong != "" {
					return fmt.Sprintf("header of %d words, length %d: %s (%s)\n%x", words, length, wrong, o.verdict, f)
				}
				if (words < 5 || length < words*4 || length > len(f)-14) && o.verdict != "malformed" {
					return fmt.Sprintf("header of %d words, length %d: %s", words, length, o.verdict)
				}
			}
		}
		return ""
	})
}

// Every flag, fragment bit and offset of the IP header: fragments without a first
// one are the kernel's, like those of ICMP errors.
func TestEveryFragment(t *testing.T) {
	eachKind(t, func(b *bench, ip []byte) string {
		const more, icmp, segments, sctp = 13, 1, 6, 132
		for bit := range 16 {
			f := frame(clientMAC, with(ip, func(ip []byte) { binary.BigEndian.PutUint16(ip[6:], 1<<bit) }))
			o := b.sendFrame(f)
			if wrong := b.checkShort(f, o); wrong != "" {
				return fmt.Sprintf("bit %d: %s (%s)", bit, wrong, o.verdict)
			}
			want := ""
			switch proto := ip[9]; {
			case bit < 2 && proto == segments, bit < 1 && proto == sctp: // over the header
				want = "bad-fragment"
			case bit == more && proto != icmp && len(ip)%8 != 20%8: // ends between units
				want = "bad-fragment"
			case bit < more, bit == more && (proto == icmp || proto == sctp):
				want = "fragment"
			}
			if isOne := o.verdict == "fragment" || o.verdict == "bad-fragment"; isOne != (want != "") || isOne && o.verdict != want {
				return fmt.Sprintf("bit %d: %s, want %s", bit, o.verdict, want)
			}
		}
		return ""
	})
}
