// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Report is what a run has measured.
type Report struct {
	MACSwapNS  float64     `json:"macSwapNs"`
	Cases      []Figure    `json:"cases"`
	Floors     []Figure    `json:"floors"`
	Cores      []Scaling   `json:"cores,omitempty"` // none with one CPU
	Memory     []Footprint `json:"memory,omitempty"`
	Tasks      []Work      `json:"tasks,omitempty"`
	Rounds     int         `json:"rounds"`
	Conditions Conditions  `json:"conditions"`
}

// Figure is what a packet costs, the whole call counted. Of all rounds' figures
// NS is the 10th percentile, since other work only adds.
type Figure struct {
	Name   string  `json:"name"`
	NS     float64 `json:"ns"`
	Ratio  float64 `json:"ratio"` // of NS to the MAC swap's
	Median float64 `json:"medianNs"`
}

func (r *Report) fill(b *bench) {
	r.Rounds = b.config.Rounds
	for _, t := range b.floors {
		if t.name == macSwap {
			r.MACSwapNS = figureOf(t, 1).NS
		}
	}
	for _, t := range b.floors {
		r.Floors = append(r.Floors, figureOf(t, r.MACSwapNS))
	}
	for _, t := range b.cases {
		r.Cases = append(r.Cases, figureOf(t, r.MACSwapNS))
	}
	for _, p := range b.pairs {
		r.Cores = append(r.Cores, p.scaling())
	}
}

// isEmpty tells whether nothing but floors was measured.
func (r *Report) isEmpty() bool {
	return len(r.Cases)+len(r.Cores)+len(r.Memory)+len(r.Tasks) == 0
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
	if err := errors.Join(printCores(w, r.Cores), printMemory(w, r.Memory), printTasks(w, r.Tasks)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "ns a packet, 10th percentile of %d rounds on CPU %d, priority %s; ratios are to %s\n",
		r.Rounds, r.Conditions.CPU, r.Conditions.Priority, macSwap)
	return err
}
