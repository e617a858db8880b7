// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// commandTopics are the recordings of ipvsadm's commands that need nothing that
// is not built yet; internal/ipvsadm replays all, with a table in place of the
// datapath.
var commandTopics = []string{"ops", "thresholds", "timeout", "zero"}

// said is what a command printed and how it ended.
type said struct {
	RC             int
	Stdout, Stderr string
}

func TestCommandRecordings(t *testing.T) {
	for _, topic := range commandTopics {
		t.Run(topic, func(t *testing.T) {
			file, err := os.Open(filepath.Join("../ipvsadm/testdata/golden", topic+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			cases := 0
			for lines := json.NewDecoder(file); lines.More(); {
				var c struct {
					Case  string
					Steps []struct {
						Argv  []string
						Stdin string
						said
					}
				}
				if err := lines.Decode(&c); err != nil {
					t.Fatal(err)
				}
				b := newBench(t)
				for _, s := range c.Steps {
					if diff := cmp.Diff(s.said, b.command(s.Argv, s.Stdin)); diff != "" {
						t.Errorf("%s: %s (-want +got):\n%s", c.Case, strings.Join(s.Argv, " "), diff)
					}
					cases++
				}
			}
			if cases == 0 {
				t.Error("no cases")
			}
		})
	}
}

// ApplyEach is what ipvsadm needs of a director.
func (b *bench) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	return ipvs.ApplyEach(changes, b.Apply)
}

func (b *bench) command(argv []string, stdin string) said {
	b.t.Helper()
	var out, errs bytes.Buffer
	p := &ipvsadm.Program{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		Hosts: "../ipvsadm/testdata/golden/etc/etc-hosts", Services: "../ipvsadm/testdata/golden/etc/etc-services",
		Open: func() (ipvsadm.Director, error) { return b, nil },
	}
	return said{RC: p.Run(argv), Stdout: out.String(), Stderr: errs.String()}
}
