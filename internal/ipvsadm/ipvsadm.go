// SPDX-License-Identifier: Apache-2.0

// Package ipvsadm is the command language of ipvsadm 1.31: command lines and
// restore lines become changes, services become listings. It knows every word,
// message, exit status and column of the original, and nothing of where the
// services are: that is behind Director.
//
// The facts come from recordings of the real program, kept in testdata/golden.
package ipvsadm

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Director is what the commands need of a director. A refusal is an
// *ipvs.Refusal, whose errno chooses the message; where the director sets Why
// with ENOTSUP, that is the message.
type Director interface {
	// ApplyEach makes all changes that are accepted. After an error, which is no
	// refusal, the rest is not tried.
	ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error)
	Services() ([]ipvs.ServiceStatus, error)
	Service(ipvs.Key) (ipvs.ServiceStatus, error)
	Conns(yield func(ipvs.Conn) error) error
}

// TimeoutKeeper is a director that has --set and "-L --timeout".
type TimeoutKeeper interface {
	Timeouts() (ipvs.Timeouts, error)
	SetTimeouts(ipvs.Timeouts) error
}

// DaemonKeeper is a director that has sync daemons. The errors of StartDaemon
// and StopDaemon are errnos: EEXIST, ESRCH, ENODEV, ...
type DaemonKeeper interface {
	Daemons() ([]Daemon, error)
	StartDaemon(Daemon) error
	StopDaemon(Daemon) error
}

// Program is ipvsadm with the world that it runs in.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Open connects to the director. Its error should say how to start one. It
	// is printed only by commands that need a director, except for a missing
	// permission, which ipvsadm reports before all else.
	Open func() (Director, error)

	Hosts    string        // path of the file of host names; empty: /etc/hosts
	Services string        // path of the file of port names; empty: /etc/services
	DNS      *net.Resolver // asked for what Hosts does not have; nil: nobody is
}

// The texts of -v and -h.
const versionText = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

//go:embed help.txt
var usageText string

const noPermission = `Can't initialize ipvs: Permission denied (you must be root)
Are you sure that IP Virtual Server is built in the kernel or as module?
`

const saveUsage = `ipvsadm-save: Script to save the IPVS table to stdout.
   With the -n option, prints out the table in numeric format.
`

// Run does what the command line says and returns the exit status. argv[0] is
// the program's name: ipvsadm, ipvsadm-save or ipvsadm-restore.
func (p *Program) Run(argv []string) int {
	name := "ipvsadm"
	if len(argv) > 0 {
		name, argv = argv[0], argv[1:]
	}
	s := &session{Program: p, name: name, names: p.names(), out: bufio.NewWriter(p.Stdout)}
	defer s.out.Flush()

	s.director, s.openErr = p.Open()
	if errors.Is(s.openErr, fs.ErrPermission) {
		return s.refuseUser()
	}
	switch path.Base(name) {
	case "ipvsadm-save":
		return s.runSave(argv)
	case "ipvsadm-restore":
		return s.runRestore()
	}
	return s.run(argv)
}

func (p *Program) names() *names {
	n := &names{hosts: p.Hosts, services: p.Services, dns: p.DNS}
	if n.hosts == "" {
		n.hosts = "/etc/hosts"
	}
	if n.services == "" {
		n.services = "/etc/services"
	}
	return n
}

// session is one run of the program.
type session struct {
	*Program
	name      string
	names     *names
	director  Director
	openErr   error
	out       *bufio.Writer
	restoring bool
}

func (s *session) run(arguments []string) int {
	if len(arguments) == 0 {
		return s.execute(&request{command: list})
	}
	r, err := parse(s.names, arguments)
	if err != nil {
		return s.report(err)
	}
	return s.execute(r)
}

// runSave is Debian's script ipvsadm-save.
func (s *session) runSave(arguments []string) int {
	r := &request{command: save}
	for _, word := range arguments {
		switch {
		case word == "-n":
			r.given |= numeric
		case strings.HasPrefix(word, "-"):
			fmt.Fprint(s.Stderr, saveUsage)
			return 1
		}
	}
	return s.execute(r)
}

// runRestore is Debian's script ipvsadm-restore: the table is cleared, but not
// before all lines are here, since they may be what ipvsadm-save makes of it.
func (s *session) runRestore() int {
	lines, err := io.ReadAll(s.Stdin)
	if err != nil {
		return s.report(fmt.Errorf("read rules: %w", err))
	}
	if code := s.execute(&request{command: flush}); code != 0 {
		return code
	}
	return s.restore(bytes.NewReader(withoutComments(lines)))
}

func withoutComments(text []byte) []byte {
	kept := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if line[0] != '#' {
			kept = append(kept, line...)
		}
	}
	return kept
}

// refuseUser is what ipvsadm says to who is not root. The script ipvsadm-restore
// runs it twice.
func (s *session) refuseUser() int {
	fmt.Fprint(s.Stderr, noPermission)
	if path.Base(s.name) == "ipvsadm-restore" {
		fmt.Fprint(s.Stderr, noPermission)
	}
	return exitMisuse
}

// execute does what a request asks for and returns the exit status.
func (s *session) execute(r *request) int {
	switch r.command {
	case help:
		s.out.WriteString(versionText + usageText)
		return 0
	case version:
		s.out.WriteString(versionText)
		return 0
	}
	if s.director == nil {
		return s.report(s.openErr)
	}
	if c, ok := r.change(); ok {
		code, _ := s.applyAll([]ipvs.Change{c})
		return code
	}
	switch r.command {
	case restore:
		return s.restore(s.Stdin)
	case save:
		return s.report(s.save(r))
	case list:
		return s.report(s.list(r))
	}
	return s.report(s.control(r))
}

// control does the commands that a director need not have.
func (s *session) control(r *request) error {
	name := "--" + rules[r.command].name
	if r.command == set {
		keeper, ok := s.director.(TimeoutKeeper)
		if !ok {
			return notBuilt(name)
		}
		return keeper.SetTimeouts(r.timeouts)
	}
	keeper, ok := s.director.(DaemonKeeper)
	if !ok {
		return notBuilt(name)
	}
	if r.command == startDaemon {
		return daemonError(startDaemon, keeper.StartDaemon(r.daemon))
	}
	return daemonError(stopDaemon, keeper.StopDaemon(r.daemon))
}
