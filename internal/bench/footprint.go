// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Footprint is the memory of a datapath and its table.
type Footprint struct {
	Name        string  `json:"name"`
	Connections int     `json:"connections"` // that the table was made for, and that came
	Live        int     `json:"live"`        // of those, that found room
	Each        float64 `json:"bytesEach"`   // of the table, for one connection
	Whole       uint64  `json:"bytesWhole"`  // of all maps: table, services, counters and the rest
}

// weigh measures the memory of tables made for so many connections, and fills them.
func (b *bench) weigh(ctx context.Context) (weighed []Footprint, err error) {
	for _, connections := range []int{b.config.Flows, b.config.Large} {
		name := "memory-" + magnitude(connections)
		if connections == 0 || !b.wants(name) {
			continue
		}
		f, err := b.weighPlane(ctx, connections)
		if err != nil {
			return nil, err
		}
		f.Name = name
		weighed = append(weighed, f)
	}
	return weighed, nil
}

// weighPlane fills a table to what it is made for.
func (b *bench) weighPlane(ctx context.Context, connections int) (f Footprint, err error) {
	before, err := bytesOfMaps()
	if err != nil {
		return f, err
	}
	p, err := openPlane(connections)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	after, err := bytesOfMaps()
	if err != nil {
		return f, err
	}
	if err := p.establish(ctx, b.driver, direct, establishedClients, connections); err != nil {
		return f, err
	}
	each := float64(p.TableSize()) / float64(connections)
	f = Footprint{Connections: connections, Whole: after - before, Each: round(each, 1)}
	f.Live, _ = p.Capacity()
	return f, nil
}

// bytesOfMaps sums up what the kernel says of all maps that the process has
// open (kernel/bpf/syscall.c: bpf_map_show_fdinfo).
func bytesOfMaps() (sum uint64, err error) {
	const dir = "/proc/self/fdinfo/"
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list open files: %w", err)
	}
	seen := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(dir + file.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // the directory's own
		}
		if err != nil {
			return 0, fmt.Errorf("read about open file: %w", err)
		}
		id, bytes := field(text, "map_id"), field(text, "memlock")
		if id == "" || seen[id] {
			continue
		}
		seen[id] = true
		n, err := strconv.ParseUint(bytes, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read memory of map %s: %w", id, err)
		}
		sum += n
	}
	return sum, nil
}

// field returns the value of a line "name: value", or "".
func field(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func printMemory(w io.Writer, memory []Footprint) error {
	if len(memory) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "memory\tconnections\tfound room\tbytes each\tMB, all maps\t\n")
	for _, f := range memory {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.0f\t\n", f.Name, f.Connections, f.Live, f.Each, float64(f.Whole)/1e6)
	}
	return t.Flush()
}
