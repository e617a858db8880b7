// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Screen shows a lab at work: each command that runs, with the node it runs
// in, and what came of it.
type Screen struct {
	out    io.Writer
	live   bool // a terminal, on which a line can change
	styled bool
	began  bool
	shown  time.Time // when a count was
}

// NewScreen returns a screen that shows on out. A count that goes up is only
// for terminals, colours are for those that want them (no-color.org).
func NewScreen(out io.Writer) *Screen {
	live := isTerminal(out)
	return &Screen{out: out, live: live, styled: live && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

const (
	bold = "1"
	dim  = "2"
)

func (s *Screen) style(code, text string) string {
	if !s.styled {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *Screen) line(node, text string) {
	fmt.Fprintf(s.out, "  %s %s\n", s.style(dim, fmt.Sprintf("%-9s", node)), text)
}

func (s *Screen) begin(m Method) {
	if s.began {
		fmt.Fprintln(s.out)
	}
	s.began = true
	fmt.Fprintf(s.out, "%s: %s\n", s.style(bold, m.Title()), m.idea())
	s.line("", s.style(dim, m.way()))
}

// command is a cluster's Told.
func (s *Screen) command(node, command string) { s.line(node, command) }

func (s *Screen) count(c *Cluster, done, all int) {
	if s.live && time.Since(s.shown) > 50*time.Millisecond {
		s.shown = time.Now()
		fmt.Fprintf(s.out, "\r  %s %d of %d requests to %s", s.style(dim, fmt.Sprintf("%-9s", client)), done, all, c.URL())
	}
}

func (s *Screen) round(c *Cluster, r Round, took time.Duration) {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
	s.line(client, fmt.Sprintf("%d requests to %s in %s: %s", r.Requests, c.URL(), took.Round(time.Millisecond), outcome(r)))
	var shares []string
	for i, server := range c.Servers {
		share := fmt.Sprintf("%s %d", server.Name, r.PerServer[server.Name])
		if c.weights != nil {
			share += fmt.Sprintf(" (weight %d)", c.weight(i))
		}
		shares = append(shares, share)
	}
	for row := range slices.Chunk(shares, 6) {
		s.line("", s.style(bold, strings.Join(row, "   ")))
	}
	if r.FirstError != nil {
		s.line("", "first failure: "+r.FirstError.Error())
	}
}

func outcome(r Round) string {
	if r.Failed == 0 {
		return "all answered"
	}
	return fmt.Sprintf("%d answered, %d failed", r.OK, r.Failed)
}

func (s *Screen) passed(r Result) {
	s.line(director, fmt.Sprintf("by %s XDP: %s to real servers, %s back",
		r.xdp,
		amount(r.Director.ClientToServerPackets, r.Director.ClientToServerBytes),
		amount(r.Director.ServerToClientPackets, r.Director.ServerToClientBytes)))
	s.line("", s.style(dim, fmt.Sprintf("its interfaces received %d packets, ARP and all", r.received)))
	for _, name := range slices.Sorted(maps.Keys(r.Inner)) {
		p := r.Inner[name]
		s.line(name, fmt.Sprintf("%s to real servers, %s back",
			amount(p.ClientToServerPackets, p.ClientToServerBytes), amount(p.ServerToClientPackets, p.ServerToClientBytes)))
	}
}

func amount(packets, size uint64) string {
	return fmt.Sprintf("%d packets (%s)", packets, bytesText(size))
}

func bytesText(n uint64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

// Compare shows the methods side by side, and what that proves.
func (s *Screen) Compare(r Report) error {
	fmt.Fprintln(s.out)
	table := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tANSWERED\tPER REAL SERVER\tTO REAL SERVERS\tBACK THROUGH THE DIRECTOR")
	for _, m := range r.Methods {
		fmt.Fprintf(table, "%s\t%d of %d\t%s\t%s\t%s\n", m.Method.Title(), m.OK, m.Requests, shares(m.PerServer),
			amount(m.Director.ClientToServerPackets, m.Director.ClientToServerBytes),
			amount(m.Director.ServerToClientPackets, m.Director.ServerToClientBytes))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	for _, m := range r.Methods {
		fmt.Fprintln(s.out, m.proof())
	}
	return nil
}

// shares joins the counts of rs1, rs2, ..., or sums many up.
func shares(perServer map[string]int) string {
	names := slices.SortedFunc(maps.Keys(perServer), func(a, b string) int {
		return cmp.Or(len(a)-len(b), strings.Compare(a, b))
	})
	var counts []string
	for _, name := range names {
		counts = append(counts, fmt.Sprint(perServer[name]))
	}
	if len(counts) > 8 {
		all := slices.Sorted(maps.Values(perServer))
		return fmt.Sprintf("%d to %d of %d", all[0], all[len(all)-1], len(all))
	}
	return strings.Join(counts, " ")
}

func (r Result) proof() string {
	back := r.Director.ServerToClientPackets
	if !r.Method.bypasses() {
		return fmt.Sprintf("%s: replies through the director: %d packets. It puts the VIP back into each.", r.Method.Title(), back)
	}
	if back == 0 && r.OK > 0 && r.Method.IsNested() {
		return fmt.Sprintf("%s: replies through the director in front: 0 packets. All %d went through the inner ones, past it, to the client.", r.Method.Title(), r.OK)
	}
	if back == 0 && r.OK > 0 {
		return fmt.Sprintf("%s: replies through the director: 0 packets. All %d went from the real servers straight to the client.", r.Method.Title(), r.OK)
	}
	return fmt.Sprintf("%s: replies through the director: %d packets.", r.Method.Title(), back)
}
