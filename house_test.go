// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dontSay are words that have one of our own: CONTRIBUTING.md has the table.
// Those that also mean something else are left to reviewers.
var dontSay = map[string]string{
	"backend":         "destination or real server",
	"frontend":        "virtual service",
	"vserver":         "virtual service",
	"upstream":        "destination",
	"virtual address": "VIP",
	"watermark":       "threshold",
	"sticky":          "persistent",
	"dry run":         "plan",
	"dryrun":          "plan",
}

func TestGofmt(t *testing.T) {
	for _, file := range written(t, ".go") {
		have := read(t, file)
		want, err := format.Source(have)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(have, want) {
			t.Errorf("%s: run gofmt -w on it", file)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(file)
		comments[dir] += 0
		if hasDoc(parsed) {
			comments[dir]++
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s: %d package comments, want 1", dir, n)
		}
	}
}

func hasDoc(file *ast.File) bool {
	return file.Doc != nil && !ast.IsGenerated(file)
}

func TestLicenceLines(t *testing.T) {
	for extension, want := range map[string]string{
		".go": "// SPDX-License-Identifier: Apache-2.0\n",
		".c":  "/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */\n",
		".h":  "/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */\n",
	} {
		for _, file := range written(t, extension) {
			if !bytes.HasPrefix(read(t, file), []byte(want)) {
				t.Errorf("%s: the first line is not %s", file, strings.TrimSpace(want))
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, file := range written(t, ".go", ".c", ".h") {
		if file == "house_test.go" {
			continue
		}
		for _, problem := range misnamed(file, read(t, file)) {
			t.Error(problem)
		}
	}
}

func TestMisnamed(t *testing.T) {
	for _, tt := range []struct {
		file, source string
		problems     int
	}{
		{"a.go", "package a\n\nvar destinations []int // of a virtual service\n", 0},
		{"a.go", "package a\n\nvar newBackend int\n", 1},
		{"a.go", "package a\n\n// The frontend's list.\nvar list []int\n", 1},
		{"a.go", "package a\n\nvar words = `vserver`\n", 0},
		{"a.go", "package a\n\nvar err = \"failed to open\"\n", 1},
		{"a.h", "struct backend {};\n", 1},
		{"a.h", "/* net/ipv4/fib_frontend.c */\n", 0},
	} {
		if got := misnamed(tt.file, []byte(tt.source)); len(got) != tt.problems {
			t.Errorf("%q: %q, want %d problems", tt.source, got, tt.problems)
		}
	}
}

// misnamed returns the places where a file uses a word it should not.
func misnamed(file string, source []byte) []string {
	if filepath.Ext(file) != ".go" {
		return wordsIn(file, string(source))
	}
	var s scanner.Scanner
	var problems []string
	set := token.NewFileSet()
	s.Init(set.AddFile(file, -1, len(source)), source, nil, scanner.ScanComments)
	for {
		pos, kind, text := s.Scan()
		switch kind {
		case token.EOF:
			return problems
		case token.IDENT, token.COMMENT:
			problems = append(problems, wordsIn(set.Position(pos).String(), text)...)
		case token.STRING: // quoting another program's words is fine, its error style is not
			if strings.HasPrefix(text, `"failed to`) {
				problems = append(problems, set.Position(pos).String()+`: errors say "verb object: cause"`)
			}
		}
	}
}

// kernelFile is a name that we did not choose: net/ipv4/fib_frontend.c.
var kernelFile = regexp.MustCompile(`[\w/]+\.[ch]\b`)

func wordsIn(place, text string) (problems []string) {
	lower := strings.ToLower(kernelFile.ReplaceAllString(text, ""))
	for word, instead := range dontSay {
		if strings.Contains(lower, word) {
			problems = append(problems, fmt.Sprintf("%s: %q: here we say %s", place, word, instead))
		}
	}
	return problems
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// written are the files with these extensions that people write.
func written(t *testing.T, extensions ...string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, extensions...), func(file string) bool {
		return strings.HasPrefix(file, "bpf/include/") || generated.Match(read(t, file))
	})
}

// files are the repository's files with these extensions, test data left out.
func files(t *testing.T, extensions ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case !entry.IsDir() && slices.Contains(extensions, filepath.Ext(path)):
			found = append(found, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no files with extension %q", extensions)
	}
	return found
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
