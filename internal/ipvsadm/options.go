// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import "fmt"

// optionSet holds the options that a command line had.
type optionSet uint64

// The options, in the order in which ipvsadm checks them.
const (
	numeric optionSet = 1 << iota
	connection
	serviceAddress
	scheduler
	persistent
	netmask
	realServer
	forwardingMethod
	weight
	upperThreshold
	lowerThreshold
	mcastInterface
	timeout
	daemon
	stats
	rate
	thresholds
	persistentConn
	noSort
	syncID
	exact
	ops
	engine
	schedFlags
	syncMaxLen
	mcastGroup
	mcastPort
	mcastTTL
	tunInfo
	tunType
	tunPort
	tunNoChecksum
	tunChecksum
	tunRemoteChecksum
)

const tunnelOptions = tunType | tunPort | tunNoChecksum | tunChecksum | tunRemoteChecksum

// optionNames are the names in messages; position i is of option 1<<i.
var optionNames = []string{
	"numeric", "connection", "service-address", "scheduler", "persistent", "netmask",
	"real-server", "forwarding-method", "weight", "u-threshold", "l-threshold",
	"mcast-interface", "timeout", "daemon", "stats", "rate", "thresholds",
	"persistent-conn", "nosort", "syncid", "exact", "ops", "pe", "sched-flags",
	"sync-maxlen", "mcast-group", "mcast-port", "mcast-ttl", "tun-info", "tun-type",
	"tun-port", "tun-nocsum", "tun-csum", "tun-remcsum",
}

// command is what a command line asks for.
type command int

const (
	noCommand command = iota
	addService
	editService
	deleteService
	flush
	addServer
	editServer
	deleteServer
	list
	zero
	save
	restore
	set
	startDaemon
	stopDaemon
	help
	version
)

// rule tells a command's name in messages and the options that it takes. Of
// those in oneOf it takes one at most.
type rule struct {
	name    string
	needs   optionSet
	accepts optionSet
	oneOf   optionSet
}

const (
	serviceOptions = scheduler | persistent | netmask | ops | engine | schedFlags
	serverOptions  = forwardingMethod | weight | upperThreshold | lowerThreshold | tunnelOptions
	listOptions    = numeric | connection | serviceAddress | timeout | daemon | stats | rate |
		thresholds | persistentConn | noSort | syncID | exact | tunInfo
	daemonOptions = mcastInterface | syncID | syncMaxLen | mcastGroup | mcastPort | mcastTTL
)

var rules = map[command]rule{
	addService:    {name: "add-service", needs: serviceAddress, accepts: serviceOptions},
	editService:   {name: "edit-service", needs: serviceAddress, accepts: serviceOptions},
	deleteService: {name: "delete-service", needs: serviceAddress},
	flush:         {name: "flush"},
	addServer:     {name: "add-server", needs: serviceAddress | realServer, accepts: serverOptions},
	editServer:    {name: "edit-server", needs: serviceAddress | realServer, accepts: serverOptions},
	deleteServer:  {name: "delete-server", needs: serviceAddress | realServer},
	list:          {name: "list", accepts: listOptions, oneOf: connection | serviceAddress | timeout | daemon},
	zero:          {name: "zero", accepts: serviceAddress},
	save:          {name: "save", accepts: numeric},
	restore:       {name: "restore"},
	set:           {name: "set"},
	startDaemon:   {name: "start-daemon", accepts: daemonOptions},
	stopDaemon:    {name: "stop-daemon", accepts: syncID},
}

// check tells the first option, in the order of the options, that the command
// lacks, does not take, or does not take beside another.
func (r rule) check(given optionSet) error {
	first := ""
	for i, name := range optionNames {
		switch o := optionSet(1) << i; {
		case given&o == 0 && r.needs&o != 0:
			return misuse("You need to supply the '%s' option for the '%s' command", name, r.name)
		case given&o == 0:
		case (r.needs|r.accepts)&o == 0:
			return misuse("Illegal '%s' option with the '%s' command", name, r.name)
		case r.oneOf&o == 0:
		case first != "":
			return misuse("The option '%s' conflicts with the '%s' option in the '%s' command", name, first, r.name)
		default:
			first = name
		}
	}
	return nil
}

// valueKind tells whether an option has a value.
type valueKind int

const (
	noValue valueKind = iota
	required
	optional
)

// option is a word of the command line: a command, or an option that read
// takes into the request.
type option struct {
	long    string
	short   byte
	value   valueKind
	command command
	read    func(p *parser, value string, hasValue bool) error
}

func findLong(name string) *option {
	for i := range options {
		if options[i].long == name && name != "" {
			return &options[i]
		}
	}
	return nil
}

func findShort(letter byte) *option {
	for i := range options {
		if options[i].short == letter && letter != 0 {
			return &options[i]
		}
	}
	return nil
}

// failure is a command line that cannot be understood. It ends a restore, unless
// it is only the line that popt could not read.
type failure struct {
	code     int
	text     string
	lineOnly bool
}

// The exit codes besides success.
const (
	exitMissing = 1   // the service to be listed is missing
	exitMisuse  = 2   // the command line is wrong
	exitRefused = 255 // the director says no; also what popt finds
)

func (f *failure) Error() string {
	return f.text
}

func misuse(format string, args ...any) error {
	return &failure{code: exitMisuse, text: fmt.Sprintf(format, args...)}
}

// askForHelp is the failure of a command line without a command.
func askForHelp() error {
	return &failure{code: exitRefused, text: "Try `ipvsadm -h' or 'ipvsadm --help' for more information."}
}
