// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

// TestDocumentedCommands looks up each command of ours that a page shows, in a
// block or in a line of text.
func TestDocumentedCommands(t *testing.T) {
	lvsx := filepath.Join(build(t), "lvsx")
	found := 0
	for _, page := range files(t, ".md") {
		for _, command := range commandsOf(string(read(t, page))) {
			found++
			if err := lookUp(t, lvsx, command); err != nil {
				t.Errorf("%s: %s: %v", page, command, err)
			}
		}
	}
	if found == 0 {
		t.Error("no commands found in any page")
	}
}

func TestCommandsOf(t *testing.T) {
	page := "Run `lvsx status`, not `ls`.\n```sh\n# a comment\nmake lab   # why\n$ lvsx director &\nip link\n```\n" +
		"    ipvsadm -Ln\n"
	got := fmt.Sprintf("%q", commandsOf(page))
	if want := `["make lab" "lvsx director" "ipvsadm -Ln" "lvsx status"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var (
	shellBlock = regexp.MustCompile("(?s)```(?:sh|console)\n(.*?)```")
	indented   = regexp.MustCompile(`(?m)^    (\S.*)$`)
	inText     = regexp.MustCompile("`([^`\n]+)`")
	ours       = regexp.MustCompile(`^(?:\$ |# )?((?:lvsx|ipvsadm|make|go run \./cmd/lvsx)(?: .*)?)$`)
)

func commandsOf(page string) (commands []string) {
	var lines []string
	for _, block := range shellBlock.FindAllStringSubmatch(page, -1) {
		lines = append(lines, strings.Split(block[1], "\n")...)
	}
	for _, line := range indented.FindAllStringSubmatch(page, -1) {
		lines = append(lines, line[1])
	}
	for _, text := range inText.FindAllStringSubmatch(shellBlock.ReplaceAllString(page, ""), -1) {
		lines = append(lines, text[1])
	}
	for _, line := range lines {
		line, _, _ = strings.Cut(line, "   #")
		line = strings.TrimSuffix(strings.TrimSpace(line), " &")
		if match := ours.FindStringSubmatch(line); match != nil && !strings.Contains(line, "…") {
			commands = append(commands, match[1])
		}
	}
	return commands
}

func lookUp(t *testing.T, lvsx, command string) error {
	t.Helper()
	words := strings.Fields(strings.TrimPrefix(command, "go run ./cmd/"))
	switch {
	case words[0] == "make":
		return lookUpTargets(string(read(t, "Makefile")), words[1:])
	case words[0] == "ipvsadm":
		return lookUpIpvsadm(words)
	case len(words) > 1 && words[1] == "ipvsadm":
		return lookUpIpvsadm(words[1:])
	}
	return lookUpHelp(lvsx, words[1:])
}

func lookUpTargets(makefile string, targets []string) error {
	for _, target := range targets {
		if !strings.Contains(makefile, "\n"+target+":") {
			return fmt.Errorf("the Makefile has no target %s", target)
		}
	}
	return nil
}

var lowerCase = regexp.MustCompile(`^[a-z]+$`)

// lookUpHelp asks the binary for its help. Words in lower case before the first
// flag are commands, other words are what they work on.
func lookUpHelp(lvsx string, words []string) error {
	var path, flags []string
	if end := slices.Index(words, "--"); end >= 0 {
		words = words[:end]
	}
	for _, word := range words {
		word, _, _ = strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(strings.TrimLeft(word, "["), "-"):
			flags = append(flags, strings.Trim(word, "[]"))
		case len(flags) == 0 && lowerCase.MatchString(word):
			path = append(path, word)
		}
	}
	out, err := exec.Command(lvsx, append(path, "--help")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	usage := strings.Join(append([]string{"  lvsx"}, path...), " ")
	if !bytes.Contains(out, []byte(usage)) {
		return fmt.Errorf("no such command:\n%s", out)
	}
	for _, flag := range flags {
		if !regexp.MustCompile(`[ \[]` + regexp.QuoteMeta(flag) + `\b`).Match(out) {
			return fmt.Errorf("no flag %s:\n%s", flag, out)
		}
	}
	return nil
}

// lookUpIpvsadm gives the command line to ipvsadm, with a director that agrees
// to everything.
func lookUpIpvsadm(argv []string) error {
	var stdout, stderr bytes.Buffer
	program := ipvsadm.Program{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Open: func() (ipvsadm.Director, error) { return yes{}, nil },
	}
	if status := program.Run(argv); status != 0 {
		return fmt.Errorf("exit status %d: %s", status, &stderr)
	}
	return nil
}

type yes struct{}

func (yes) ApplyEach(...ipvs.Change) (ipvs.Refused, error)   { return nil, nil }
func (yes) Services() ([]ipvs.ServiceStatus, error)          { return nil, nil }
func (yes) Service(key ipvs.Key) (ipvs.ServiceStatus, error) { return ipvs.ServiceStatus{}, nil }
func (yes) Conns(yield func(ipvs.Conn) error) error          { return nil }
