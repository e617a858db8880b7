// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sysctl names a setting as its path below /proc/sys, such as
// net/ipv4/conf/eth0/arp_ignore. Settings below net are those of the calling
// thread's network namespace.
type Sysctl string

// InterfaceSysctl names an IPv4 setting of one interface, or of "all" or
// "default".
func InterfaceSysctl(link, setting string) Sysctl {
	return Sysctl("net/ipv4/conf/" + link + "/" + setting)
}

// String returns the name as sysctl(8) has it, where dots and slashes change
// places.
func (s Sysctl) String() string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(string(s))
}

// Read returns the setting's value. It fails with os.ErrNotExist if there is
// no such setting, as when the interface is gone.
func (s Sysctl) Read() (int, error) {
	text, err := os.ReadFile(s.path())
	if err != nil {
		return 0, fmt.Errorf("read sysctl %s: %w", s, err)
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read sysctl %s: %w", s, err)
	}
	return value, nil
}

// Write changes the setting.
func (s Sysctl) Write(value int) error {
	if err := os.WriteFile(s.path(), []byte(strconv.Itoa(value)), 0o644); err != nil {
		return fmt.Errorf("write sysctl %s (is /proc/sys writable?): %w", s, err)
	}
	return nil
}

func (s Sysctl) path() string {
	return filepath.Join("/proc/sys", string(s))
}
