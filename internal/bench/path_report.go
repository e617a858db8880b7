// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// dropped is the floor that all ways have in common: source, one link, and a drop.
const dropped = "drop"

// forwarding is the kernel's routing, without any director.
const forwarding = "ip-forward"

// PathReport is what whole ways of packets cost.
type PathReport struct {
	DropNS  float64      `json:"dropNs"`
	Cases   []PathFigure `json:"cases"`
	Missing []string     `json:"missing,omitempty"` // directors that the machine has not, and why
}

// PathFigure is what a packet costs on its whole way, the 10th percentile of
// rounds. Under an emulator whose clock counts instructions NS is instructions.
type PathFigure struct {
	Name  string  `json:"name"`
	NS    float64 `json:"ns"`
	Net   float64 `json:"netNs"` // without what a drop costs
	Times float64 `json:"times"` // what another director's Net is of ours; 0: there is nothing to compare
	Whole float64 `json:"whole"` // what its NS is of ours
}

func (p *path) report() PathReport {
	report := PathReport{Missing: p.missing}
	for _, j := range p.cases {
		ns := percentile(j.times, 10)
		if j.name == dropped {
			report.DropNS = round(ns, 1)
		}
		report.Cases = append(report.Cases, PathFigure{Name: j.name, NS: round(ns, 1), Net: max(0, round(ns-report.DropNS, 1))})
	}
	for i, f := range report.Cases {
		if mine := report.find(f.rival()); mine != nil && mine.Net > 0 {
			report.Cases[i].Times = round(f.Net/mine.Net, 2)
			report.Cases[i].Whole = round(f.NS/mine.NS, 2)
		}
	}
	return report
}

// rival names the case of ours that does what another director's does, or more.
func (f PathFigure) rival() string {
	if f.Name == forwarding {
		return "dr-established"
	}
	if name, ok := strings.CutPrefix(f.Name, "ipvs-"); ok {
		return name
	}
	if name, ok := strings.CutPrefix(f.Name, "nft-dnat"); ok {
		return "nat-in" + name
	}
	return ""
}

func (r *PathReport) find(name string) *PathFigure {
	i := slices.IndexFunc(r.Cases, func(f PathFigure) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Cases[i]
}

// Print writes the report as a table.
func (r PathReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "way\tns\ttimes ours\tnet\ttimes ours\t\n")
	for _, f := range r.Cases {
		whole, times := "", ""
		if f.Times > 0 {
			whole, times = fmt.Sprintf("%.2f", f.Whole), fmt.Sprintf("%.2f", f.Times)
		}
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%.1f\t%s\t\n", f.Name, f.NS, whole, f.Net, times)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, missing := range r.Missing {
		fmt.Fprintf(w, "not measured: %s\n", missing)
	}
	_, err := fmt.Fprintf(w, "ns a packet from source to sink; net: without %q\n", dropped)
	return err
}
