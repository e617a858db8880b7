// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/testenv"
)

// Users who are not root learn what is wrong, not which system call said no, and
// can read the help.
func TestNeedsRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for line, want := range map[string]string{
		"vip add 192.0.2.1/32 --interface eth0":     "vip add: needs root; run it with sudo",
		"vip del 192.0.2.1/32 --interface eth0":     "vip del: needs root; run it with sudo",
		"realserver up --method dr --vip 192.0.2.1": "realserver up: needs root; run it with sudo",
		"realserver down":                           "realserver down: needs root; run it with sudo",
		"realserver status":                         "realserver status: needs root; run it with sudo",
		"realserver":                                "",
		"vip":                                       "",
		"vip add --help":                            "",
	} {
		t.Run(line, func(t *testing.T) {
			asNobody(t, func() {
				root := newRootCommand()
				_, err := execute(root, line)
				switch {
				case want == "" && err != nil:
					t.Error(err)
				case want != "" && (err == nil || err.Error() != want):
					t.Errorf("%v, want %s", err, want)
				}
			})
		})
	}
}

// asNobody runs f on a thread that has another user, and ends with it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody = 65534
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread()
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}
