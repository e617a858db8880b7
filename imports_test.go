// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/lvsx/lvsx"
	testOnly = "testenv"
	model    = "reference" // imported by tests alone, too
)

// levels is the import order of internal/, from the ground up: a package may
// import only from lines above its own, its tests also from its own line. cmd/
// stands below them all.
const levels = `
ipvs
config ipvsadm reference sched
dataplane decap host control
director realserver doctor lab bench
`

// owners are the packages that alone may import a library, so that its types
// stay behind their border. Tests may import what they like.
var owners = map[string][]string{
	"github.com/vishvananda/netlink":      {"host"},
	"github.com/vishvananda/netns":        {"host"},
	"github.com/safchain/ethtool":         {"host"},
	"github.com/mdlayher/packet":          {"host"},
	"github.com/cilium/ebpf":              {"dataplane", "decap", "bench", "host", testOnly},
	"github.com/spf13/cobra":              {"cmd"},
	"github.com/gopacket/gopacket":        {},
	"github.com/google/go-cmp":            {testOnly},
	"github.com/pion/sctp":                {},
	"github.com/rogpeppe/go-internal":     {},
	"github.com/goccy/go-yaml":            {"config"},
	"github.com/prometheus/client_golang": {"director"},
}

func TestImports(t *testing.T) {
	for _, file := range files(t, ".go") {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if reason := forbids(file, imported); reason != "" {
				t.Errorf("%s imports %s: %s", file, imported, reason)
			}
		}
	}
}

func TestForbids(t *testing.T) {
	for _, tt := range []struct {
		file, imported string
		forbidden      bool
	}{
		{"internal/sched/sched.go", "fmt", false},
		{"internal/sched/sched.go", module + "/internal/ipvs", false},
		{"internal/ipvs/ipvs.go", module + "/internal/sched", true},
		{"internal/ipvsadm/parse.go", module + "/internal/sched", true},
		{"internal/ipvsadm/parse_test.go", module + "/internal/ipvsadm", false},
		{"internal/host/host.go", module + "/internal/decap", true},
		{"internal/decap/decap_test.go", module + "/internal/host", false},
		{"internal/host/host_test.go", module + "/internal/director", true},
		{"internal/director/director.go", module + "/internal/dataplane", false},
		{"internal/director/director.go", module + "/internal/testenv", true},
		{"internal/director/director_test.go", module + "/internal/testenv", false},
		{"internal/testenv/testenv.go", module + "/internal/host", false},
		{"internal/reference/conn.go", module + "/internal/ipvs", false},
		{"internal/dataplane/dataplane.go", module + "/internal/reference", true},
		{"internal/dataplane/reference_test.go", module + "/internal/reference", false},
		{"internal/director/director.go", module + "/internal/reference", true},
		{"internal/helper/helper.go", module + "/internal/ipvs", true},
		{"cmd/lvsx/lab.go", module + "/internal/lab", false},
		{"internal/lab/lab.go", module + "/cmd/lvsx", true},
		{"internal/host/link.go", "github.com/vishvananda/netlink/nl", false},
		{"internal/director/hops.go", "github.com/vishvananda/netlink", true},
		{"internal/ipvs/table.go", "github.com/google/go-cmp/cmp", true},
		{"internal/ipvs/table_test.go", "github.com/google/go-cmp/cmp", false},
	} {
		if reason := forbids(tt.file, tt.imported); (reason != "") != tt.forbidden {
			t.Errorf("%s imports %s: forbidden %t, want %t %s",
				tt.file, tt.imported, reason != "", tt.forbidden, reason)
		}
	}
}

// forbids returns why the file must not import the package, or nothing.
func forbids(file, imported string) string {
	owner, test := ownerOf(file), strings.HasSuffix(file, "_test.go")
	if _, ours := strings.CutPrefix(imported, module+"/"); !ours {
		return forbidsLibrary(owner, imported, test)
	}
	other := ownerOf(strings.TrimPrefix(imported, module+"/") + "/x.go")
	from, known := levelOf(owner)
	to, otherKnown := levelOf(other)
	switch {
	case owner == "": // house tests look at all
		return ""
	case (other == testOnly || other == model) && other != owner && !test:
		return "only tests may"
	case other == testOnly || other == owner:
		return ""
	case !known:
		return owner + " has no level in imports_test.go"
	case !otherKnown:
		return other + " has no level in imports_test.go"
	case to > from || to == from && !test:
		return "not from a lower level"
	}
	return ""
}

func forbidsLibrary(owner, imported string, test bool) string {
	if test {
		return ""
	}
	for library, allowed := range owners {
		if imported != library && !strings.HasPrefix(imported, library+"/") {
			continue
		}
		for _, name := range allowed {
			if name == owner {
				return ""
			}
		}
		return "only " + strings.Join(append(allowed, "tests"), ", ") + " may"
	}
	return ""
}

// ownerOf returns the name that stands in levels for a file's package.
func ownerOf(file string) string {
	parts := strings.Split(path.Dir(file), "/")
	switch {
	case parts[0] == "internal" && len(parts) > 1:
		return parts[1]
	case parts[0] == "cmd":
		return "cmd"
	}
	return ""
}

func levelOf(owner string) (level int, known bool) {
	lines := strings.Split(strings.TrimSpace(levels), "\n")
	switch owner {
	case "cmd":
		return len(lines), true
	case testOnly: // may use what its tests use
		return len(lines), true
	}
	for level, line := range lines {
		for _, name := range strings.Fields(line) {
			if name == owner {
				return level, true
			}
		}
	}
	return 0, false
}
