// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"testing"
)

func good(name string, replies uint64) method {
	m := method{Method: name, Requests: 300, OK: 300, PerServer: map[string]int{"rs1": 100, "rs2": 100, "rs3": 100}}
	m.Director.ClientToServerPackets = 1500
	m.Director.ServerToClientPackets = replies
	return m
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*report)
		ok     bool
	}{
		{"as it must be", func(*report) {}, true},
		{"a method is missing", func(r *report) { r.Methods = r.Methods[1:] }, false},
		{"a request failed", func(r *report) { r.Methods[0].OK, r.Methods[0].Failed = 299, 1 }, false},
		{"one more for one server", func(r *report) { r.Methods[0].PerServer["rs1"]++ }, false},
		{"one more and two fewer", func(r *report) {
			maps.Copy(r.Methods[0].PerServer, map[string]int{"rs1": 101, "rs2": 101, "rs3": 98})
		}, false},
		{"nat replies bypass the director", func(r *report) { r.Methods[0].Director.ServerToClientPackets = 0 }, false},
		{"tun replies pass the director", func(r *report) { r.Methods[1].Director.ServerToClientPackets = 1 }, false},
		{"requests bypass the director", func(r *report) { r.Methods[2].Director.ClientToServerPackets = 0 }, false},
	} {
		r := report{Methods: []method{good("nat", 1200), good("tun", 0), good("dr", 0)}}
		tt.change(&r)
		if err := r.check(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
