// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdictsAreExplained(t *testing.T) {
	page := string(read(t, "docs/verdicts.md"))
	director, decapsulator, found := strings.Cut(page, "## The decapsulator")
	if !found {
		t.Fatal("docs/verdicts.md: no section of the decapsulator")
	}
	for _, part := range []struct{ source, text string }{
		{"bpf/types.h", director},
		{"bpf/decap.bpf.c", decapsulator},
	} {
		if diff := cmp.Diff(verdicts(t, part.source), explained(part.text)); diff != "" {
			t.Errorf("docs/verdicts.md (-%s +page):\n%s", part.source, diff)
		}
	}
}

func TestMapsAreExplained(t *testing.T) {
	page := string(read(t, "ARCHITECTURE.md"))
	for _, file := range []string{"bpf/maps.h", "bpf/decap.bpf.c"} {
		names := mapName.FindAllStringSubmatch(string(read(t, file)), -1)
		if len(names) == 0 {
			t.Fatalf("%s: no maps", file)
		}
		for _, match := range names {
			if name := match[1]; !strings.Contains(page, "`"+name+"`") {
				t.Errorf("ARCHITECTURE.md does not tell about the map %s of %s", name, file)
			}
		}
	}
}

var (
	mapName     = regexp.MustCompile(`(\w+) SEC\("\.(?:maps|data\.settings)"\)`)
	verdictEnum = regexp.MustCompile(`(?s)enum verdict \{(.*?)\};`)
	enumerator  = regexp.MustCompile(`(?m)^\s*VERDICT_([A-Z_]+),`)
	verdictRow  = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [^|]+ \\|")
)

// verdicts returns the names in a C file's enum verdict, as users see them.
func verdicts(t *testing.T, file string) (names []string) {
	t.Helper()
	enum := verdictEnum.FindSubmatch(read(t, file))
	if enum == nil {
		t.Fatalf("%s: no enum verdict", file)
	}
	for _, match := range enumerator.FindAllSubmatch(enum[1], -1) {
		if name := string(match[1]); name != "COUNT" {
			names = append(names, strings.ToLower(strings.ReplaceAll(name, "_", "-")))
		}
	}
	return names
}

// explained returns the first cells of the tables in a page.
func explained(text string) (names []string) {
	for _, match := range verdictRow.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}
