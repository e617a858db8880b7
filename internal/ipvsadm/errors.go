// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// refusals are libipvs's words for what the kernel answers to one operation.
var refusals = map[ipvs.Op]map[syscall.Errno]string{
	ipvs.AddService: {
		syscall.EEXIST: "Service already exists",
		syscall.ENOENT: "Scheduler or persistence engine not found",
	},
	ipvs.EditService: {
		syscall.ESRCH:  "No such service",
		syscall.ENOENT: "Scheduler or persistence engine not found",
	},
	ipvs.DeleteService: {syscall.ESRCH: "No such service"},
	ipvs.Zero:          {syscall.ESRCH: "No such service"},
	ipvs.AddDestination: {
		syscall.ESRCH:  "Service not defined",
		syscall.EEXIST: "Destination already exists",
	},
	ipvs.EditDestination: {
		syscall.ESRCH:  "Service not defined",
		syscall.ENOENT: "No such destination",
	},
	ipvs.DeleteDestination: {
		syscall.ESRCH:  "Service not defined",
		syscall.ENOENT: "No such destination",
	},
}

// anyRefusal are libipvs's words for errnos whatever the operation.
var anyRefusal = map[syscall.Errno]string{
	syscall.EPERM:        "Permission denied (you must be root)",
	syscall.EINVAL:       "Invalid operation.  Possibly wrong module version, address not unicast, ...",
	syscall.ENOPROTOOPT:  "Protocol not available",
	syscall.ENOMEM:       "Memory allocation problem",
	syscall.EOPNOTSUPP:   "Operation not supported with IPv6",
	syscall.EAFNOSUPPORT: "Operation not supported with specified address family",
	syscall.EMSGSIZE:     "Module is wrong version",
}

// describe returns libipvs's words for a refusal of the operation.
func describe(op ipvs.Op, errno syscall.Errno) string {
	if text, ok := refusals[op][errno]; ok {
		return text
	}
	return describeAny(errno)
}

// describeAny falls back on strerror, whose words Go begins in lower case.
func describeAny(errno syscall.Errno) string {
	if text, ok := anyRefusal[errno]; ok {
		return text
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// daemonError gives libipvs's words for the answer to a daemon command.
func daemonError(c command, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch {
	case c == startDaemon && errno == syscall.EEXIST:
		return &failure{code: exitRefused, text: "Daemon has already run"}
	case c == stopDaemon && errno == syscall.ESRCH:
		return &failure{code: exitRefused, text: "No daemon is running"}
	}
	return &failure{code: exitRefused, text: describeAny(errno)}
}

// notBuilt refuses what the director does not have.
func notBuilt(what string) error {
	return fmt.Errorf("%s is not built yet", what)
}

// report prints the error, if there is one, and returns the exit status.
func (s *session) report(err error) int {
	if err == nil {
		return 0
	}
	var bad *failure
	if errors.As(err, &bad) {
		fmt.Fprintln(s.Stderr, bad.text)
		return bad.code
	}
	var refusal *ipvs.Refusal
	switch {
	case !errors.As(err, &refusal):
		fmt.Fprintf(s.Stderr, "ipvsadm: %v\n", err)
	case refusal.Errno == syscall.ENOTSUP && refusal.Why != "":
		fmt.Fprintf(s.Stderr, "ipvsadm: %s\n", refusal.Why)
	default:
		fmt.Fprintln(s.Stderr, describe(refusal.Op, refusal.Errno))
	}
	return exitRefused
}
