// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"net/netip"
	"strings"
)

const defaultInterface = "eth0"

// Daemon is a sync daemon as --start-daemon asks for it. Zero values leave the
// choice to the director, but for Role and Interface.
type Daemon struct {
	Role      string // "master" or "backup"
	Interface string
	SyncID    uint8
	MaxLen    uint16 // of a message, in bytes
	Group     netip.Addr
	Port      uint16
	TTL       uint8
}

// String is the line of "-L --daemon".
func (d Daemon) String() string {
	return fmt.Sprintf("%s sync daemon (mcast=%s, syncid=%d, maxlen=%d, group=%s, port=%d, ttl=%d)",
		d.Role, d.Interface, d.SyncID, d.MaxLen, d.Group, d.Port, d.TTL)
}

func (p *parser) startDaemon(value string, _ bool) error {
	if value != "master" && value != "backup" {
		return misuse("illegal start-daemon parameter specified")
	}
	p.daemon.Role = value
	return nil
}

func (p *parser) stopDaemon(value string, _ bool) error {
	if value != "master" && value != "backup" {
		return misuse("illegal start_daemon specified") // ipvsadm's own slip
	}
	p.daemon.Role = value
	return nil
}

func (p *parser) mcastInterface(value string, _ bool) error {
	p.daemon.Interface = truncate(value, 15) // IP_VS_IFNAME_MAXLEN less its end
	return p.take(mcastInterface)
}

func (p *parser) mcastGroup(value string, _ bool) error {
	if err := p.take(mcastGroup); err != nil {
		return err
	}
	family := "IPv4"
	if strings.Contains(value, ":") {
		family = "IPv6"
	}
	group, err := netip.ParseAddr(value)
	if err != nil || !group.IsMulticast() || group.Zone() != "" {
		return misuse("invalid %s mcast-group `%s'", family, value)
	}
	p.daemon.Group = group
	return nil
}
