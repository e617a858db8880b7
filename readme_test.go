// SPDX-License-Identifier: Apache-2.0

package lvsx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// TestReadmeStory follows "From nothing to a balanced page" word for word, with
// a network namespace for each machine, and an HTTP server and client of its
// own in the place of Python's and curl.
func TestReadmeStory(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces)
	_, section, _ := strings.Cut(string(read(t, "README.md")), "## From nothing to a balanced page\n")
	_, block, _ := strings.Cut(section, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	sections := strings.Split(block, "\n\n")
	if len(sections) != 4 {
		t.Fatalf("README.md: %d groups of commands, want everywhere, real servers, director, client", len(sections))
	}

	c := newSegment(t)
	c.run(t, sections[1], "192.0.2.11", "192.0.2.12")
	c.run(t, sections[2], "192.0.2.2")
	c.run(t, strings.Repeat(sections[3]+"\n", 6), "192.0.2.100")
	if diff := cmp.Diff(map[string]int{"192.0.2.11": 3, "192.0.2.12": 3}, c.answers); diff != "" {
		t.Errorf("who answered the client (-want +got):\n%s", diff)
	}
}

// segment is one Ethernet segment with a director, two real servers and a
// client on it, by their addresses.
type segment struct {
	bin      string
	machines map[string]*host.Namespace
	answers  map[string]int
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	s := &segment{bin: build(t), machines: map[string]*host.Namespace{}, answers: map[string]int{}}
	middle := testenv.Namespace(t, "readme-switch")
	must(t, middle.Do(func() error { return errors.Join(host.AddBridge("br0"), host.SetUp("br0")) }))
	for i, address := range []string{"192.0.2.2", "192.0.2.11", "192.0.2.12", "192.0.2.100"} {
		n := testenv.Namespace(t, fmt.Sprint("readme-", i))
		port := fmt.Sprint("port", i)
		must(t, host.AddVeth(host.VethEnd{Name: "eth0", Namespace: n}, host.VethEnd{Name: port, Namespace: middle}))
		must(t, n.Do(func() error {
			_, err := host.AddAddress("eth0", netip.MustParsePrefix(address+"/24"))
			return errors.Join(err, host.DisableTransmitOffload("eth0"), host.SetUp("eth0"))
		}))
		must(t, middle.Do(func() error { return errors.Join(host.SetBridge(port, "br0"), host.SetUp(port)) }))
		s.machines[address] = n
	}
	return s
}

// run runs the lines of a section on machines.
func (s *segment) run(t *testing.T, section string, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		for line := range strings.Lines(section) {
			if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
				s.command(t, address, words)
			}
		}
	}
}

func (s *segment) command(t *testing.T, address string, words []string) {
	t.Helper()
	n := s.machines[address]
	switch words[0] {
	case "python3":
		s.serve(t, n, address)
	case "curl":
		s.answers[ask(t, n, words[1])]++
	default:
		program := filepath.Join(s.bin, words[0])
		if words[len(words)-1] == "&" {
			s.start(t, n, program, words[1:len(words)-1])
			return
		}
		if out, err := n.Command(program, words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
		}
	}
}

// serve answers HTTP requests on the machine with its address.
func (s *segment) serve(t *testing.T, n *host.Namespace, address string) {
	t.Helper()
	var listener net.Listener
	must(t, n.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":80")
		return err
	}))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, address) })}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}

func ask(t *testing.T, n *host.Namespace, url string) (answer string) {
	t.Helper()
	dial := func(_ context.Context, network, address string) (conn net.Conn, err error) {
		err = n.Do(func() error {
			conn, err = net.DialTimeout(network, address, 5*time.Second)
			return err
		})
		return conn, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Get(url)
	must(t, err)
	defer response.Body.Close()
	_, err = fmt.Fscan(response.Body, &answer)
	must(t, err)
	return answer
}

// start starts the director and waits until it answers.
func (s *segment) start(t *testing.T, n *host.Namespace, program string, args []string) {
	t.Helper()
	director := n.Command(program, args...)
	director.Stderr = t.Output()
	must(t, director.Start())
	t.Cleanup(func() {
		must(t, director.Process.Signal(syscall.SIGTERM))
		must(t, director.Wait())
	})
	ready := func() bool { return n.Command(filepath.Join(s.bin, "lvsx"), "status").Run() == nil }
	for deadline := time.Now().Add(20 * time.Second); !ready(); {
		if time.Now().After(deadline) {
			t.Fatal("the director does not answer")
		}
	}
}

// build builds the binary and links ipvsadm to it, as make install does. It
// returns their directory.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "./cmd/lvsx").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	must(t, os.Symlink("lvsx", filepath.Join(dir, "ipvsadm")))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
