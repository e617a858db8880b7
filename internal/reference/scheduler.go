// SPDX-License-Identifier: Apache-2.0

package reference

import "net/netip"

// scheduler chooses destinations for new connections. The service's list has
// changed already when added, deleted and edited tell of it; at is where the
// deleted one stood.
type scheduler interface {
	start(s *service)
	added(s *service)
	deleted(s *service, gone *dest, at int)
	edited(s *service)
	choose(d *Director, s *service, r request) *dest
}

// request is what schedulers may look at: the packet's source and destination.
type request = flow

// newScheduler returns one that has not started; nil if nobody knows the name.
func newScheduler(name string) scheduler {
	switch name {
	case "rr":
		return &roundRobin{}
	case "wrr":
		return &weightedRoundRobin{}
	case "dh":
		return &destinationHash{}
	case "sh":
		return &sourceHash{}
	case "mh":
		return &maglev{}
	case "lblc":
		return &locality{last: make(map[netip.Addr]*dest)}
	case "lblcr":
		return &localityReplicated{sets: make(map[netip.Addr]*serverSet)}
	case "twos":
		return twos{}
	case "none":
		return none{}
	}
	return map[string]scheduler{"lc": leastConnections, "wlc": weightedLeast, "sed": shortestDelay, "nq": neverQueue, "fo": failover, "ovf": overflow}[name]
}

// stateless remembers nothing.
type stateless struct{}

func (stateless) start(*service)               {}
func (stateless) added(*service)               {}
func (stateless) deleted(*service, *dest, int) {}
func (stateless) edited(*service)              {}

// none never chooses: a service without scheduler.
type none struct{ stateless }

func (none) choose(*Director, *service, request) *dest { return nil }

// roundRobin is ip_vs_rr.c.
type roundRobin struct {
	stateless
	last *dest // nil: the head of the list
}

func (rr *roundRobin) start(*service) { rr.last = nil }

// deleted steps back to the one before (ip_vs_rr_del_dest).
func (rr *roundRobin) deleted(s *service, gone *dest, at int) {
	if rr.last != gone {
		return
	}
	rr.last = nil
	if at > 0 {
		rr.last = s.dests[at-1]
	}
}

func (rr *roundRobin) choose(_ *Director, s *service, _ request) *dest {
	after := position(s, rr.last) + 1
	for i := range s.dests {
		if dest := s.dests[(after+i)%len(s.dests)]; dest.eligible() {
			rr.last = dest
			return dest
		}
	}
	return nil
}

// position returns where a destination stands in the list, -1 for the head.
func position(s *service, dest *dest) int {
	for i, other := range s.dests {
		if other == dest {
			return i
		}
	}
	return -1
}

// weightedRoundRobin is ip_vs_wrr.c.
type weightedRoundRobin struct {
	current *dest // nil: the head of the list
	cw      int   // current weight
	mw      int   // largest weight, less than a step
	di      int   // step: the weights' greatest common divisor
}

func (w *weightedRoundRobin) measure(s *service) {
	w.di, w.mw = 0, 0
	for _, dest := range s.dests {
		if dest.Weight > 0 {
			w.di = divisor(w.di, int(dest.Weight))
			w.mw = max(w.mw, int(dest.Weight))
		}
	}
	w.di = max(w.di, 1)
	w.mw -= w.di - 1
}

// divisor is the greatest common one, b if a is 0.
func divisor(a, b int) int {
	for a != 0 {
		a, b = b%a, a
	}
	return b
}

func (w *weightedRoundRobin) start(s *service) {
	w.measure(s)
	w.current, w.cw = nil, w.mw
}

// changed is ip_vs_wrr_dest_changed().
func (w *weightedRoundRobin) changed(s *service) {
	w.measure(s)
	w.current = nil
	if w.cw > w.mw || w.cw == 0 {
		w.cw = w.mw
	} else if w.di > 1 {
		w.cw = w.cw/w.di*w.di + 1
	}
}

func (w *weightedRoundRobin) added(s *service)                   { w.changed(s) }
func (w *weightedRoundRobin) deleted(s *service, _ *dest, _ int) { w.changed(s) }
func (w *weightedRoundRobin) edited(s *service)                  { w.changed(s) }

// choose is ip_vs_wrr_schedule().
func (w *weightedRoundRobin) choose(_ *Director, s *service, _ request) *dest {
	if w.mw <= 0 {
		return nil
	}
	last := w.current
	var stop *dest
	lastPass, restarted := false, false
	for {
		for _, dest := range s.dests[position(s, w.current)+1:] {
			if !dest.overloaded && int(dest.Weight) >= w.cw {
				w.current = dest
				return dest
			}
			if dest == stop {
				w.current = dest
				return nil
			}
		}
		w.current = nil
		w.cw -= w.di
		if w.cw <= 0 {
			w.cw = w.mw
			if lastPass || last == nil {
				return nil
			}
			restarted = true
		}
		lastPass = w.cw <= w.di
		if lastPass && restarted && last != nil {
			stop = last
		}
	}
}
