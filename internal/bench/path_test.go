// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/testenv"
)

// TestRunPath sends few packets: RunPath itself checks that they arrive.
func TestRunPath(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	report, err := RunPath(t.Context(), PathConfig{Rounds: 1, Packets: 4 * batchSize})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`
		drop mac-swap redirect ip-forward
		dr-established dr-new ipip-established ipip-new
		nat-in-established nat-out-established nat-in-new`) {
		if f := report.find(name); f == nil || f.NS <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for _, rival := range []string{"ipvs", "nft"} {
		missing := slices.ContainsFunc(report.Missing, func(m string) bool { return strings.HasPrefix(m, rival) })
		measured := slices.ContainsFunc(report.Cases, func(f PathFigure) bool { return strings.HasPrefix(f.Name, rival) })
		if missing == measured {
			t.Errorf("%s: measured %t, missing %t", rival, measured, missing)
		}
	}
}

func TestPathReport(t *testing.T) {
	p := path{missing: []string{"nft: none"}, cases: []*journey{
		{name: dropped, times: []float64{100}},
		{name: "dr-established", times: []float64{300}},
		{name: "nat-in-new", times: []float64{400}},
		{name: forwarding, times: []float64{900}},
		{name: "ipvs-dr-established", times: []float64{1100}},
		{name: "nft-dnat-new", times: []float64{1600}},
	}}
	var out bytes.Buffer
	if err := p.report().Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `                  way      ns  times ours     net  times ours
                 drop   100.0                 0.0            
       dr-established   300.0               200.0            
           nat-in-new   400.0               300.0            
           ip-forward   900.0        3.00   800.0        4.00
  ipvs-dr-established  1100.0        3.67  1000.0        5.00
         nft-dnat-new  1600.0        4.00  1500.0        5.00
not measured: nft: none
ns a packet from source to sink; net: without "drop"
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
