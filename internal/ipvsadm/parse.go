// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

const (
	defaultScheduler = "wlc"
	defaultTimeout   = 360     // of persistence, in seconds; the manual says 300
	longestTimeout   = 2678400 // seconds; 31 days
	longestFlagNames = 127     // bytes of -b's value that count
)

// request is a command line understood.
type request struct {
	command  command
	given    optionSet
	service  ipvs.Service
	dest     ipvs.Destination
	timeouts ipvs.Timeouts
	daemon   Daemon
}

// changeOps are the commands that are changes.
var changeOps = map[command]ipvs.Op{
	addService:    ipvs.AddService,
	editService:   ipvs.EditService,
	deleteService: ipvs.DeleteService,
	flush:         ipvs.Flush,
	addServer:     ipvs.AddDestination,
	editServer:    ipvs.EditDestination,
	deleteServer:  ipvs.DeleteDestination,
	zero:          ipvs.Zero,
}

// change returns the change that the request is, if it is one.
func (r *request) change() (ipvs.Change, bool) {
	op, ok := changeOps[r.command]
	c := ipvs.Change{Op: op}
	switch op {
	case ipvs.Flush:
	case ipvs.AddService, ipvs.EditService:
		c.Service = r.service
	case ipvs.AddDestination, ipvs.EditDestination:
		c.Destination = r.dest
		c.Service.Key = r.service.Key
	case ipvs.DeleteDestination:
		c.Destination.RIP = r.dest.RIP
		c.Service.Key = r.service.Key
	default:
		c.Service.Key = r.service.Key
	}
	return c, ok
}

// Parse reads the arguments of an ipvsadm command that is a change, without the
// program's name. Addresses and ports must be numbers. The error is what ipvsadm
// would print.
func Parse(arguments ...string) (ipvs.Change, error) {
	r, err := parse(&names{}, arguments)
	if err != nil {
		return ipvs.Change{}, err
	}
	c, ok := r.change()
	if !ok {
		return ipvs.Change{}, fmt.Errorf("%s: changes nothing", strings.Join(arguments, " "))
	}
	return c, nil
}

// parser fills a request option by option, in the order of the command line:
// for ipvsadm the order counts, as in "-6 used before -f".
type parser struct {
	names     *names
	flagNames string // of -b
	request
}

func parse(n *names, arguments []string) (*request, error) {
	p := &parser{names: n}
	p.service.Netmask = ipvs.FullMask
	p.dest.Weight = 1
	p.dest.Forwarding = ipvs.Route

	w := &words{left: arguments}
	if err := p.readCommand(w); err != nil {
		return nil, err
	}
	if p.command == help || p.command == version {
		return &p.request, nil
	}
	if err := p.readOptions(w); err != nil {
		return nil, err
	}
	if err := p.readArguments(w); err != nil {
		return nil, err
	}
	if err := p.readSchedFlags(); err != nil {
		return nil, err
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return &p.request, nil
}

// readCommand reads the first option, which must be the command.
func (p *parser) readCommand(w *words) error {
	m, err := w.next()
	if err != nil || m.option == nil || m.option.command == noCommand {
		return askForHelp()
	}
	p.command = m.option.command
	if m.option.read != nil {
		return m.option.read(p, m.value, m.hasValue)
	}
	return nil
}

func (p *parser) readOptions(w *words) error {
	for {
		m, err := w.next()
		if err != nil {
			return err
		}
		if m.option == nil {
			return nil
		}
		if m.option.command != noCommand {
			return misuse("invalid option `%s'", w.word)
		}
		if err := m.option.read(p, m.value, m.hasValue); err != nil {
			return err
		}
	}
}

// readArguments reads the three times of --set; no other command has arguments.
func (p *parser) readArguments(w *words) error {
	if p.command == set {
		times := []*uint32{&p.timeouts.TCP, &p.timeouts.TCPFin, &p.timeouts.UDP}
		if len(w.arguments) < len(times) {
			return misuse("--set option requires 3 timeout values")
		}
		for _, seconds := range times {
			text, _ := w.argument()
			var err error
			if *seconds, err = parseTimeout(text, 0); err != nil {
				return err
			}
		}
	}
	if extra, ok := w.argument(); ok {
		return misuse("unexpected argument %s", extra)
	}
	return nil
}

// finish checks what can be checked only when all options are known.
func (p *parser) finish() error {
	if err := rules[p.command].check(p.given); err != nil {
		return err
	}
	switch p.command {
	case addService, editService:
		if err := p.finishService(); err != nil {
			return err
		}
	case addServer, editServer:
		if err := p.finishServer(); err != nil {
			return err
		}
	case list:
		if err := p.checkList(); err != nil {
			return err
		}
	case startDaemon:
		if p.daemon.Interface == "" {
			p.daemon.Interface = defaultInterface
		}
	}
	if p.service.Mark != 0 {
		p.service.Key = ipvs.MarkKey(p.service.Mark, p.service.IPv6())
	}
	return nil
}

// checkList refuses columns for what has none.
func (p *parser) checkList() error {
	if p.given&(connection|timeout|daemon) != 0 && p.given&(stats|rate|thresholds) != 0 ||
		p.given&(timeout|daemon) != 0 && p.given&persistentConn != 0 {
		return misuse("options conflicts in the list command")
	}
	return nil
}
