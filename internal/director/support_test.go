// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
	"github.com/lvsx/lvsx/internal/sched"
)

// Schedulers and engines that nobody has are refused, and nothing else is here.
func TestSupported(t *testing.T) {
	tcp := ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")}
	v6 := ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("[2001:db8::1]:80")}
	add := func(s ipvs.Service) ipvs.Change { return ipvs.Change{Op: ipvs.AddService, Service: s} }
	edit := func(s ipvs.Service) ipvs.Change { return ipvs.Change{Op: ipvs.EditService, Service: s} }
	to := func(rip string, change func(*ipvs.Destination)) ipvs.Change {
		d := ipvs.Destination{RIP: netip.MustParseAddrPort(rip), Weight: 1}
		change(&d)
		return ipvs.Change{Op: ipvs.AddDestination, Service: ipvs.Service{Key: tcp}, Destination: d}
	}
	as := func(d *ipvs.Destination) {}
	udp := ipvs.Key{Protocol: ipvs.UDP, VIP: tcp.VIP}
	exists := func(k ipvs.Key) bool { return k == udp }
	for name, test := range map[string]struct {
		change ipvs.Change
		errno  syscall.Errno
		text   string
	}{
		"rr":                  {change: add(ipvs.Service{Key: tcp, Scheduler: "rr"})},
		"wrr":                 {change: edit(ipvs.Service{Key: tcp, Scheduler: "wrr"})},
		"delete anything":     {change: ipvs.Change{Op: ipvs.DeleteService, Service: ipvs.Service{Key: v6}}},
		"zero all":            {change: ipvs.Change{Op: ipvs.Zero}},
		"NAT":                 {change: to("10.0.0.1:80", as)},
		"IPIP":                {change: to("10.0.0.1:80", func(d *ipvs.Destination) { d.Forwarding = ipvs.Tunnel })},
		"no such scheduler":   {add(ipvs.Service{Key: tcp, Scheduler: "best"}), syscall.ENOENT, "add-service: no such file or directory"},
		"firewall mark":       {change: add(ipvs.Service{Key: ipvs.MarkKey(1, false), Scheduler: "rr"})},
		"IPv6 firewall mark":  {change: add(ipvs.Service{Key: ipvs.MarkKey(1, true), Scheduler: "rr"})},
		"SCTP":                {change: add(ipvs.Service{Key: ipvs.Key{Protocol: ipvs.SCTP, VIP: tcp.VIP}, Scheduler: "rr"})},
		"IPv6":                {change: add(ipvs.Service{Key: v6, Scheduler: "rr"})},
		"engine":              {change: add(ipvs.Service{Key: tcp, Scheduler: "rr", Engine: "sip"})},
		"no such engine":      {add(ipvs.Service{Key: tcp, Scheduler: "rr", Engine: "sap"}), syscall.ENOENT, "add-service: no such file or directory"},
		"add what is there":   {add(ipvs.Service{Key: udp, Scheduler: "best"}), syscall.EEXIST, "add-service: file exists"},
		"edit what is there":  {edit(ipvs.Service{Key: udp, Scheduler: "best"}), syscall.ENOENT, "edit-service: no such file or directory"},
		"edit what is not":    {edit(ipvs.Service{Key: tcp, Scheduler: "best"}), syscall.ESRCH, "edit-service: no such process"},
		"one packet":          {change: edit(ipvs.Service{Key: tcp, Scheduler: "rr", Flags: ipvs.OnePacket})},
		"scheduler's flags":   {change: edit(ipvs.Service{Key: tcp, Scheduler: "sh", Flags: ipvs.SchedFlag2})},
		"flags of no meaning": {change: edit(ipvs.Service{Key: tcp, Scheduler: "rr", Flags: ipvs.SchedFlag3})},
		"IPv6 real server":    {change: to("[2001:db8::2]:80", as)},
		"GRE":                 {change: to("10.0.0.1:80", func(d *ipvs.Destination) { d.Forwarding, d.TunnelType = ipvs.Tunnel, ipvs.GRE })},
		"thresholds":          {change: to("10.0.0.1:80", func(d *ipvs.Destination) { d.Upper = 5 })},
		"tunnel type, no use": {change: to("10.0.0.1:80", func(d *ipvs.Destination) { d.TunnelType = ipvs.GRE })},
	} {
		t.Run(name, func(t *testing.T) {
			err := supported(test.change, exists)
			if test.text == "" {
				if err != nil {
					t.Errorf("supported = %v", err)
				}
				return
			}
			var refused *ipvs.Refusal
			if !errors.As(err, &refused) || refused.Errno != test.errno || err.Error() != test.text {
				t.Errorf("supported = %v, want %s", err, test.text)
			}
		})
	}
}

// All of the kernel's schedulers are there, and the one that never chooses.
func TestSchedulersSupported(t *testing.T) {
	key := ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("192.0.2.1:80")}
	for _, name := range append([]string{"none"}, sched.Names...) {
		if err := supported(ipvs.Change{Op: ipvs.AddService, Service: ipvs.Service{Key: key, Scheduler: name}}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
