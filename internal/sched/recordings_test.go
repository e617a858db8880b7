// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hashing is a service of dh, sh or mh as the kernel's code has it: the table,
// and the search in it that bpf/hash.h makes.
type hashing struct {
	scheduler      string
	fallback, port bool
	ipv6           bool
	dests          []hashedDest // newest first
	table          []uint16
}

type hashedDest struct {
	MaglevDestination
	weight int32
}

// configure understands the restore lines of the recordings.
func (h *hashing) configure(line string) error {
	words := strings.Fields(line)
	option := func(name string) string {
		if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
			return words[i+1]
		}
		return ""
	}
	if words[0] == "-A" {
		h.scheduler = option("-s")
		h.fallback = strings.Contains(option("-b"), "fallback")
		h.port = strings.Contains(option("-b"), "port")
		return nil
	}
	rip, err := netip.ParseAddrPort(option("-r"))
	if err != nil {
		return err
	}
	h.ipv6 = rip.Addr().Is6()
	weight := int32(1)
	if w := option("-w"); w != "" {
		if _, err := fmt.Sscan(w, &weight); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(h.dests, func(d hashedDest) bool { return d.RIP == rip })
	switch {
	case words[0] == "-a":
		h.dests = slices.Insert(h.dests, 0, hashedDest{MaglevDestination{rip, weight}, weight})
	case words[0] == "-d":
		h.dests = slices.Delete(h.dests, i, i+1)
	case words[0] == "-e":
		h.dests[i].weight = weight
		if weight != 0 {
			h.dests[i].LastWeight = weight
		}
	default:
		return fmt.Errorf("%s: not understood", line)
	}
	return nil
}

func (h *hashing) build() []uint16 {
	weights := make([]int32, len(h.dests))
	maglev := make([]MaglevDestination, len(h.dests))
	for i, d := range h.dests {
		weights[i], maglev[i] = d.weight, d.MaglevDestination
	}
	switch h.scheduler {
	case "dh":
		return DestinationHash(len(h.dests))
	case "sh":
		return SourceHash(weights)
	}
	return Maglev(maglev, h.ipv6)
}

func (h *hashing) choose(src, dst netip.AddrPort) string {
	hash := func(value uint32) uint32 { return value * 0x61c88647 >> 24 }
	if h.scheduler == "mh" {
		hash = func(value uint32) uint32 { return maglevHash(value, maglevOffsetKey) % MaglevSize }
	}
	value := Fold(src.Addr(), h.ipv6)
	if h.scheduler == "dh" {
		value = Fold(dst.Addr(), h.ipv6)
	}
	if h.port {
		value += uint32(src.Port())
	}
	table, first := h.table, hash(value)
	places := []uint32{first}
	for offset := range uint32(len(table)) {
		place := (first + offset) % uint32(len(table))
		if h.scheduler == "mh" {
			place = hash(value + place)
		} else {
			place = (place + first) % uint32(len(table))
		}
		places = append(places, place)
	}
	if !h.fallback {
		places = places[:1]
	}
	for _, place := range places {
		if d := h.dests[table[place]]; d.weight > 0 {
			return d.RIP.String()
		}
	}
	return "none"
}

// What the kernel chose for clients of all kinds, IPv6 and marks included, which
// the datapath has not yet. The datapath's own choices are compared with the
// rest of the recordings in internal/dataplane.
func TestTablesOfRecordings(t *testing.T) {
	files, err := filepath.Glob("../dataplane/testdata/sched/?h-map*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.Contains(name, "overload") || strings.Contains(name, "persistent") {
			continue // not a matter of the table alone
		}
		t.Run(name, func(t *testing.T) { compareRecording(t, file) })
	}
}

func compareRecording(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Setup []string
		Steps []struct {
			Op, Args     string
			Src, Dst     netip.Addr
			Sport, Dport uint16
			Server       *string
		}
	}
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	h := &hashing{}
	configure := func(line string) {
		if err := h.configure(line); err != nil {
			t.Fatal(err)
		}
		h.table = h.build()
	}
	for _, line := range recording.Setup {
		configure(line)
	}
	for i, s := range recording.Steps {
		if s.Op == "ipvsadm" {
			if !strings.HasPrefix(s.Args, "-L") {
				configure(s.Args)
			}
			continue
		}
		want := "none"
		if s.Server != nil {
			want = *s.Server
		}
		got := h.choose(netip.AddrPortFrom(s.Src, s.Sport), netip.AddrPortFrom(s.Dst, s.Dport))
		if address, ok := strings.CutSuffix(got, ":0"); ok { // a server at any port
			got = fmt.Sprint(address, ":", s.Dport)
		}
		if got != want {
			t.Fatalf("step %d: %s to %s goes to %s, want %s", i, s.Src, s.Dst, got, want)
		}
	}
}
