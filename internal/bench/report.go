// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Report is what a run has measured.
type Report struct {
	MACSwapNS  float64    `json:"macSwapNs"`
	Cases      []Figure   `json:"cases"`
	Floors     []Figure   `json:"floors"`
	Tasks      []Work     `json:"tasks,omitempty"`
	Rounds     int        `json:"rounds"`
	Conditions Conditions `json:"conditions"`
}

// Figure is what a packet costs, the whole call counted. Of all rounds' figures
// NS is the 10th percentile, since other work only adds.
type Figure struct {
	Name   string  `json:"name"`
	NS     float64 `json:"ns"`
	Ratio  float64 `json:"ratio"` // of NS to the MAC swap's
	Median float64 `json:"medianNs"`
}

func (r *Report) fill(config Config, floors, cases []*trial) {
	r.Rounds = config.Rounds
	for _, t := range floors {
		if t.name == macSwap {
			r.MACSwapNS = figureOf(t, 1).NS
		}
	}
	for _, t := range floors {
		r.Floors = append(r.Floors, figureOf(t, r.MACSwapNS))
	}
	for _, t := range cases {
		r.Cases = append(r.Cases, figureOf(t, r.MACSwapNS))
	}
}

func figureOf(t *trial, macSwapNS float64) Figure {
	ns := percentile(t.times, 10)
	return Figure{
		Name:   t.name,
		NS:     round(ns, 1),
		Ratio:  round(ns/macSwapNS, 2),
		Median: round(percentile(t.times, 50), 1),
	}
}

// percentile returns the value that p of a hundred values are not above.
func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*p/100]
}

func round(x float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(x*unit) / unit
}

// Print writes the report as a table.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, part := range []struct {
		title   string
		figures []Figure
	}{{"floor", r.Floors}, {"case", r.Cases}} {
		fmt.Fprintf(t, "%s\tns\tmedian\tratio\t\n", part.title)
		for _, f := range part.figures {
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.2f\t\n", f.Name, f.NS, f.Median, f.Ratio)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := printTasks(w, r.Tasks); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "ns a packet, 10th percentile of %d rounds on CPU %d, priority %s; ratios are to %s\n",
		r.Rounds, r.Conditions.CPU, r.Conditions.Priority, macSwap)
	return err
}
