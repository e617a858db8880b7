// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdictsAreExplained(t *testing.T) {
	page := string(read(t, "docs/verdicts.md"))
	if diff := cmp.Diff(verdicts(t, "bpf/types/verdict.h"), explained(page)); diff != "" {
		t.Errorf("docs/verdicts.md (-bpf/types/verdict.h +page):\n%s", diff)
	}
	page = string(read(t, "docs/realserver.md"))
	for _, name := range verdicts(t, "bpf/decap.h") {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/realserver.md does not explain %s", name)
		}
	}
}

func TestMapsAreExplained(t *testing.T) {
	page := string(read(t, "ARCHITECTURE.md"))
	for _, file := range []string{"bpf/maps.h", "bpf/csum.h", "bpf/split.h", "bpf/decap.h"} {
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

func TestDependenciesAreExplained(t *testing.T) {
	page := string(read(t, "CONTRIBUTING.md"))
	for _, file := range files(t, ".go") {
		if strings.HasPrefix(file, "tools/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			library := dependency.FindString(spec.Path.Value)
			name := strings.TrimPrefix(strings.Trim(library, `"`), "github.com/")
			if library != "" && name != "lvsx/lvsx" && !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s imports %s, which CONTRIBUTING.md gives no reason for", file, name)
			}
		}
	}
}

var (
	// A domain with a dot is none of the standard library's.
	dependency  = regexp.MustCompile(`^"[\w-]+\.[\w.-]+/[\w-]+/[\w-]+`)
	mapName     = regexp.MustCompile(`(\w+)(?:\[.*\])? SEC\("\.(?:maps|data\.settings|data\.filter)"\)`)
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

// The differences from ipvsadm are deliberate: ten at most, each with its reason.
func TestDifferencesAreFew(t *testing.T) {
	_, section, _ := strings.Cut(string(read(t, "docs/ipvsadm.md")), "\n## What differs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, rows, found := strings.Cut(section, "| --- | --- | --- | --- |\n")
	if !found {
		t.Fatal("docs/ipvsadm.md: no table of what differs, with reasons")
	}
	differences := strings.Split(strings.TrimSpace(rows), "\n")
	if len(differences) > 10 {
		t.Errorf("docs/ipvsadm.md: %d differences: make some as in the original", len(differences))
	}
	for _, row := range differences {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 4 || cells[3] == "" {
			t.Errorf("docs/ipvsadm.md: no reason for %s", row)
		}
	}
}

// TestPagesExist follows links between pages, and the names of pages in code.
func TestPagesExist(t *testing.T) {
	for _, file := range files(t, ".md", ".go", ".c", ".h") {
		text := string(read(t, file))
		for _, match := range pageName.FindAllString(text, -1) {
			if _, err := os.Stat(match); err != nil {
				t.Errorf("%s names %s: %v", file, match, err)
			}
		}
		for _, match := range pageLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), match[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, match[1], err)
			}
		}
	}
}

var (
	pageName = regexp.MustCompile(`\bdocs/[\w-]+\.md`)
	pageLink = regexp.MustCompile(`\]\(([\w./-]+\.md)`)
)
