// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// pick opens a connection and returns the last octet of the server it got, 0 for
// none.
func (b *bench) pick(n int) int {
	b.t.Helper()
	o := b.send(clientMAC, tcp(clientNumber(n), vip, "S"))
	switch o.verdict {
	case "route":
		return int(o.mac[5]/16*10 + o.mac[5]%16)
	case "no-destination":
		return 0
	}
	b.t.Fatalf("connection %d: %s", n, o.verdict)
	return 0
}

// Sequences of the kernel's own scheduler code, run by itself. Destination N is
// 10.0.0.N.
func TestChoiceVectors(t *testing.T) {
	const (
		add    = "-a -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d"
		edit   = "-e -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d"
		remove = "-d -t 10.0.0.80:80 -r 10.0.0.%d:80"
	)
	type step struct {
		lines []string
		picks string
		full  int // the destination that is overloaded meanwhile
	}
	three := func(w1, w2, w3 int) []string {
		return []string{fmt.Sprintf(add, 1, w1), fmt.Sprintf(add, 2, w2), fmt.Sprintf(add, 3, w3)}
	}
	for name, test := range map[string]struct {
		scheduler string
		steps     []step
	}{
		"equal": {"rr", []step{
			{lines: three(1, 1, 1), picks: "3 2 1 3 2 1 3"},
			{lines: []string{fmt.Sprintf(edit, 2, 0)}, picks: "1 3 1 3 1"},
			{lines: []string{fmt.Sprintf(edit, 2, 1), fmt.Sprintf(remove, 1)}, picks: "3 2 3 2 3"},
			{lines: []string{fmt.Sprintf(add, 4, 1)}, picks: "2 4 3 2 4 3 2"},
		}},
		"growing": {"rr", []step{
			{lines: []string{fmt.Sprintf(add, 1, 1)}, picks: "1 1"},
			{lines: []string{fmt.Sprintf(add, 2, 1)}, picks: "2 1 2"},
			{lines: []string{fmt.Sprintf(add, 3, 1)}, picks: "1 3 2 1 3"},
		}},
		"4/3/2": {"wrr", []step{{lines: three(4, 3, 2), picks: "3 2 1 1 2 1 3 2 1 3 2 1 1 2 1 3 2 1 3 2"}}},
		"100/200/300": {"wrr", []step{
			{lines: three(100, 200, 300), picks: "3 2 1 3 3 2 3 2 1 3 3 2 3 2"},
			{lines: []string{fmt.Sprintf(edit, 3, 0)}, picks: "2 1 2 2 1 2 2 1"},
			{lines: []string{fmt.Sprintf(edit, 3, 300)}, picks: "3 2 1 3 3 2 3 2"},
		}},
		"1/1/5": {"wrr", []step{
			{lines: three(1, 1, 5), picks: "3 2 1 3 3 3 3 3 2 1 3 3 3 3 3 2"},
			{full: 3, picks: "1 2 1 2 1 2"},
			{picks: "1 3 3 3 3 3 2 1 3 3"},
		}},
	} {
		t.Run(test.scheduler+" "+name, func(t *testing.T) {
			b := newBench(t, "-A -t 10.0.0.80:80 -s "+test.scheduler)
			n := 0
			for i, s := range test.steps {
				b.apply(s.lines...)
				for _, dest := range b.byKey[ipvs.Key{Protocol: ipvs.TCP, VIP: vip}].dests {
					b.loads.at[dest.index].Reached = 0
					if int(dest.rip.Addr().As4()[3]) == s.full {
						b.loads.at[dest.index].Reached = 1
					}
				}
				var picks []string
				for range strings.Fields(s.picks) {
					picks = append(picks, fmt.Sprint(b.pick(n)))
					n++
				}
				if got := strings.Join(picks, " "); got != s.picks {
					t.Fatalf("part %d: %s, want %s", i, got, s.picks)
				}
			}
		})
	}
}

// model is the kernel's rr and wrr with its list, pointers and marks of
// overload, as net/netfilter/ipvs/ip_vs_rr.c, ip_vs_wrr.c, ip_vs_conn.c and
// ip_vs_ctl.c have them.
type model struct {
	wrr     bool
	list    []modelDest // newest first
	current int         // the destination picked last; 0: the head of the list
	cw      int         // wrr's current weight
	mw, di  int
}

type modelDest struct {
	id, weight          int
	upper, lower, conns int
	overload            bool
}

func (m *model) at(id int) int {
	return slices.IndexFunc(m.list, func(d modelDest) bool { return d.id == id })
}

func (m *model) measure() {
	m.di, m.mw = 0, 0
	for _, d := range m.list {
		a, b := m.di, d.weight
		for b > 0 {
			a, b = b, a%b
		}
		m.di, m.mw = a, max(m.mw, d.weight)
	}
	m.di = max(m.di, 1)
	m.mw -= m.di - 1
}

func (m *model) init(wrr bool) {
	m.wrr, m.current = wrr, 0
	m.measure()
	m.cw = m.mw
}

// changed is ip_vs_wrr_dest_changed().
func (m *model) changed() {
	m.measure()
	if !m.wrr {
		return
	}
	m.current = 0
	if m.cw > m.mw || m.cw == 0 {
		m.cw = m.mw
	} else if m.di > 1 {
		m.cw = m.cw/m.di*m.di + 1
	}
}

func (m *model) add(id, weight int) {
	m.list = slices.Insert(m.list, 0, modelDest{id: id, weight: weight})
	m.changed()
}

func (m *model) edit(id, weight, upper, lower int) {
	d := &m.list[m.at(id)]
	d.weight = weight
	if d.upper != upper || d.lower != lower {
		d.upper, d.lower = upper, lower
		switch {
		case upper == 0:
			d.overload = false
		case d.conns >= upper:
			d.overload = true
		case d.conns < d.floor():
			d.overload = false
		}
	}
	m.changed()
}

// floor is the lower threshold that counts.
func (d *modelDest) floor() int {
	if d.lower != 0 {
		return d.lower
	}
	return d.upper - d.upper/4
}

// bind is ip_vs_bind_dest() for the destination picked.
func (m *model) bind(id int) {
	if id == 0 {
		return
	}
	d := &m.list[m.at(id)]
	if d.conns++; d.upper != 0 && d.conns == d.upper {
		d.overload = d.conns >= d.floor()
	}
}

// unbind is ip_vs_unbind_dest().
func (m *model) unbind(id int) {
	i := m.at(id)
	if i < 0 {
		return
	}
	d := &m.list[i]
	if d.conns--; d.upper != 0 && d.conns+1 == d.floor() {
		d.overload = d.conns >= d.upper
	}
}

func (m *model) remove(id int) {
	i := m.at(id)
	if m.current == id { // ip_vs_rr_del_dest()
		m.current = 0
		if i > 0 {
			m.current = m.list[i-1].id
		}
	}
	m.list = slices.Delete(m.list, i, i+1)
	m.changed()
}

func (m *model) pick() int {
	if m.wrr {
		return m.pickWRR()
	}
	start := m.at(m.current) + 1
	for i := range m.list {
		if d := m.list[(start+i)%len(m.list)]; !d.overload && d.weight > 0 {
			m.current = d.id
			return d.id
		}
	}
	return 0
}

// pickWRR is ip_vs_wrr_schedule().
func (m *model) pickWRR() int {
	if m.mw <= 0 {
		return 0
	}
	start, stop, lastPass, restarted := m.current, 0, false, false
	for {
		for i := m.at(m.current) + 1; i < len(m.list); i++ {
			d := m.list[i]
			if !d.overload && d.weight >= m.cw {
				m.current = d.id
				return d.id
			}
			if d.id == stop {
				m.current = d.id
				return 0
			}
		}
		m.current = 0
		if m.cw -= m.di; m.cw <= 0 {
			m.cw = m.mw
			if lastPass || start == 0 {
				return 0
			}
			restarted = true
		}
		if lastPass = m.cw <= m.di; lastPass && restarted && start != 0 {
			stop = start
		}
	}
}

// Any changes in any order leave the datapath's choices the kernel's.
func TestChoicesOfModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 20 {
		wrr := round%2 == 1
		b := newBench(t, "-A -t 10.0.0.80:80 -s "+schedulerName(wrr))
		m := &model{}
		m.init(wrr)
		n, next := 0, 1
		opened := make(map[int][]int) // by whom: numbers of connections that live
		var story []string
		run := func(line string) {
			t.Helper()
			story = append(story, line)
			b.apply(line)
		}
		for i := range 60 {
			weight := []int{0, 1, 1, 2, 3, 4, 6, 10}[random.IntN(8)]
			what := random.IntN(10)
			if round%4 > 1 && i > 15 {
				what = 9 // leave the table alone from here on
			}
			switch {
			case what < 3 && next < 99:
				run(fmt.Sprintf("-a -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d", next, weight))
				m.add(next, weight)
				next++
			case what < 5 && len(m.list) > 0:
				id := m.list[random.IntN(len(m.list))].id
				upper := []int{0, 1, 2, 4, 5, 9}[random.IntN(6)]
				lower := random.IntN(upper + 1)
				run(fmt.Sprintf("-e -t 10.0.0.80:80 -r 10.0.0.%d:80 -g -w %d -x %d -y %d", id, weight, upper, lower))
				m.edit(id, weight, upper, lower)
			case what < 6 && len(m.list) > 0:
				id := m.list[random.IntN(len(m.list))].id
				run(fmt.Sprintf("-d -t 10.0.0.80:80 -r 10.0.0.%d:80", id))
				m.remove(id)
			case what == 6 && random.IntN(4) == 0:
				wrr = !wrr
				run("-E -t 10.0.0.80:80 -s " + schedulerName(wrr))
				m.init(wrr)
			case what > 6:
				for id, conns := range opened {
					ended := random.IntN(len(conns) + 1)
					story = append(story, fmt.Sprintf("%d connections of %d end", ended, id))
					b.endConns(conns[:ended])
					opened[id] = conns[ended:]
					for range ended {
						m.unbind(id)
					}
				}
			}
			for range random.IntN(12) {
				want, got := m.pick(), b.pick(n)
				m.bind(want)
				opened[got] = append(opened[got], n)
				n++
				if got != want {
					t.Fatalf("pick %d is %d, want %d, after\n%s", n, got, want, strings.Join(story, "\n"))
				}
			}
		}
	}
}

// endConns makes it be the end of some clients' connections.
func (b *bench) endConns(clients []int) {
	b.t.Helper()
	for e := range b.live() {
		cip := fromAddrPort(e.conn.Cip, e.conn.Cport)
		if slices.ContainsFunc(clients, func(n int) bool { return clientNumber(n) == cip }) {
			e.conn.Expires = b.now
			b.mark(e, b.now)
		}
	}
}

func schedulerName(wrr bool) string {
	if wrr {
		return "wrr"
	}
	return "rr"
}
