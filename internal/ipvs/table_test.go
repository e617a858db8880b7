// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsx/lvsx/internal/ipvs"
)

var ignoreIndex = cmpopts.IgnoreUnexported(ipvs.Table{})

var plain = cmp.Options{ignoreIndex, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}

func tcp(vip string) ipvs.Service {
	return ipvs.Service{Key: ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort(vip)}, Scheduler: "rr"}
}

func dest(rip string, edit ...func(*ipvs.Destination)) ipvs.Destination {
	d := ipvs.Destination{RIP: netip.MustParseAddrPort(rip), Weight: 1}
	for _, e := range edit {
		e(&d)
	}
	return d
}

func add(op ipvs.Op, s ipvs.Service, d ...ipvs.Destination) ipvs.Change {
	c := ipvs.Change{Op: op, Service: s}
	if len(d) > 0 {
		c.Destination = d[0]
	}
	return c
}

// oneService is 10.0.0.80:80 with destinations 192.168.1.12 and, before it,
// 192.168.1.11.
func oneService(t *testing.T) ipvs.Table {
	t.Helper()
	var table ipvs.Table
	apply(t, &table,
		add(ipvs.AddService, tcp("10.0.0.80:80")),
		add(ipvs.AddDestination, tcp("10.0.0.80:80"), dest("192.168.1.12:80")),
		add(ipvs.AddDestination, tcp("10.0.0.80:80"), dest("192.168.1.11:80")))
	return table
}

func apply(t *testing.T, table *ipvs.Table, changes ...ipvs.Change) {
	t.Helper()
	for _, c := range changes {
		if err := table.Apply(c); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	vip, vip6 := tcp("10.0.0.80:80"), tcp("[2001:db8::80]:80")
	badPrefix := vip6
	badPrefix.Flags = ipvs.Persistent
	fwd := func(f ipvs.Forwarding) func(*ipvs.Destination) {
		return func(d *ipvs.Destination) { d.Forwarding = f }
	}
	weight := func(d *ipvs.Destination) { d.Weight = -1 }
	lower := func(d *ipvs.Destination) { d.Lower = 1 }
	upper := func(d *ipvs.Destination) { d.Upper = 1 << 31 }
	gue := func(d *ipvs.Destination) { d.Forwarding, d.TunnelType = ipvs.Tunnel, ipvs.GUE }

	for _, tt := range []struct {
		name   string
		change ipvs.Change
		want   syscall.Errno
	}{
		{"add service again", add(ipvs.AddService, vip), syscall.EEXIST},
		{"add without address", add(ipvs.AddService, ipvs.Service{}), syscall.EINVAL},
		{"add IPv6 with prefix 0", add(ipvs.AddService, badPrefix), syscall.EINVAL},
		{"edit missing service", add(ipvs.EditService, vip6), syscall.ESRCH},
		{"delete missing service", add(ipvs.DeleteService, vip6), syscall.ESRCH},
		{"set missing service", add(ipvs.SetService, vip6), syscall.ESRCH},
		{"zero missing service", add(ipvs.Zero, vip6), syscall.ESRCH},
		{"missing service before bad weight", add(ipvs.AddDestination, vip6, dest("10.0.0.1:80", weight)), syscall.ESRCH},
		{"add destination again", add(ipvs.AddDestination, vip, dest("192.168.1.11:80", fwd(ipvs.Route))), syscall.EEXIST},
		{"edit missing destination", add(ipvs.EditDestination, vip, dest("192.168.1.13:80")), syscall.ENOENT},
		{"delete missing destination", add(ipvs.DeleteDestination, vip, dest("192.168.1.11:81")), syscall.ENOENT},
		{"negative weight before existence", add(ipvs.AddDestination, vip, dest("192.168.1.11:80", weight)), syscall.ERANGE},
		{"lower above upper", add(ipvs.AddDestination, vip, dest("192.168.1.13:80", lower)), syscall.ERANGE},
		{"weight before upper", add(ipvs.AddDestination, vip, dest("192.168.1.13:80", weight, upper)), syscall.ERANGE},
		{"upper above INT_MAX", add(ipvs.AddDestination, vip, dest("192.168.1.13:80", upper)), syscall.EINVAL},
		{"GUE without port before existence", add(ipvs.AddDestination, vip, dest("192.168.1.11:80", gue)), syscall.EINVAL},
		{"IPv6 without tunnel", add(ipvs.AddDestination, vip, dest("[2001:db8::1]:80")), syscall.EINVAL},
		{"any address", add(ipvs.AddDestination, vip, dest("0.0.0.0:80")), syscall.EINVAL},
		{"multicast", add(ipvs.AddDestination, vip, dest("224.0.0.1:80")), syscall.EINVAL},
		{"broadcast", add(ipvs.AddDestination, vip, dest("255.255.255.255:80")), syscall.EINVAL},
		{"link-local", add(ipvs.AddDestination, vip, dest("[fe80::1]:80", fwd(ipvs.Tunnel))), syscall.EINVAL},
		{"unknown operation", add("frobnicate", vip), syscall.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := oneService(t)
			before := table.Clone()
			err := table.Apply(tt.change)
			var refusal *ipvs.Refusal
			if !errors.As(err, &refusal) || refusal.Errno != tt.want {
				t.Errorf("Apply(%s) = %v, want %v", tt.change, err, tt.want)
			}
			if diff := cmp.Diff(before, table, plain); diff != "" {
				t.Errorf("a refused change altered the table (-before +after):\n%s", diff)
			}
		})
	}
}

func TestApplyOrders(t *testing.T) {
	table := oneService(t)
	vip := tcp("10.0.0.80:80")
	apply(t, &table,
		add(ipvs.AddDestination, vip, dest("192.168.1.13:80")),
		add(ipvs.EditDestination, vip, dest("192.168.1.12:80", func(d *ipvs.Destination) { d.Weight = 5 })),
		add(ipvs.DeleteDestination, vip, dest("192.168.1.11:80")),
		add(ipvs.AddService, tcp("10.0.0.9:80")),
		add(ipvs.AddService, tcp("10.0.0.8:80")),
		add(ipvs.DeleteService, tcp("10.0.0.9:80")),
		add(ipvs.EditService, ipvs.Service{Key: vip.Key, Scheduler: "wrr"}),
		add(ipvs.Zero, tcp("10.0.0.8:80")),
		ipvs.Change{Op: ipvs.Zero})

	edited := vip
	edited.Scheduler = "wrr"
	edited.Destinations = []ipvs.Destination{dest("192.168.1.13:80"), dest("192.168.1.12:80", func(d *ipvs.Destination) { d.Weight = 5 })}
	want := ipvs.Table{Services: []ipvs.Service{edited, tcp("10.0.0.8:80")}}
	if diff := cmp.Diff(want, table, plain); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// What is odd for a real server's address, and unicast for inet_addr_type.
func TestApplyTakesUnicast(t *testing.T) {
	table := oneService(t)
	for _, rip := range []string{"0.0.0.1:80", "127.0.0.1:80", "169.254.1.1:80", "240.0.0.1:80", "255.255.255.254:80"} {
		apply(t, &table, add(ipvs.AddDestination, tcp("10.0.0.80:80"), dest(rip)))
	}
}

func TestMarkKeysAreOne(t *testing.T) {
	var table ipvs.Table
	apply(t, &table,
		add(ipvs.AddService, ipvs.Service{Key: ipvs.MarkKey(1, false)}),
		add(ipvs.AddService, ipvs.Service{Key: ipvs.MarkKey(1, true)}))
	for _, k := range []ipvs.Key{
		{Mark: 1},
		{Mark: 1, Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort("10.0.0.1:80")},
	} {
		if s := table.Find(k); s == nil || s.IPv6() {
			t.Errorf("Find(%+v) = %v, want the IPv4 service of mark 1", k, s)
		}
	}
}

// A big restore must stay fast: the director validates every line here.
func TestApplyManyServices(t *testing.T) {
	var table ipvs.Table
	start := time.Now()
	for i := range 10_000 {
		s := tcp(fmt.Sprintf("10.%d.%d.1:80", i/250, i%250))
		apply(t, &table, add(ipvs.AddService, s))
		for j := range 10 {
			apply(t, &table, add(ipvs.AddDestination, s, dest(fmt.Sprintf("192.168.1.%d:80", j+1))))
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("110,000 changes took %v; is a lookup linear?", took)
	}
}

func randomTable(r *rand.Rand) ipvs.Table {
	var table ipvs.Table
	for i := range r.IntN(5) {
		s := tcp(fmt.Sprintf("10.0.0.%d:80", i*r.IntN(3)+1))
		s.Scheduler = []string{"rr", "wrr"}[r.IntN(2)]
		if table.Apply(add(ipvs.AddService, s)) != nil {
			continue
		}
		s.Settings.Timeouts.TCP = r.Uint32N(3)
		_ = table.Apply(add(ipvs.SetService, s)) // it exists
		for range r.IntN(6) {
			d := dest(fmt.Sprintf("192.168.1.%d:80", r.IntN(6)+1))
			d.Weight = r.Int32N(3)
			_ = table.Apply(add(ipvs.AddDestination, s, d)) // a second one of the same address is refused
		}
	}
	return table
}

// unordered forgets the order, which Diff cannot change without removals.
func unordered(table ipvs.Table) ipvs.Table {
	c := table.Clone()
	slices.SortFunc(c.Services, func(a, b ipvs.Service) int { return a.VIP.Compare(b.VIP) })
	for _, s := range c.Services {
		slices.SortFunc(s.Destinations, func(a, b ipvs.Destination) int { return a.RIP.Compare(b.RIP) })
	}
	return c
}

func TestDiffMakesWant(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		have, want := randomTable(r), randomTable(r)
		got := have.Clone()
		apply(t, &got, ipvs.Diff(have, want)...)
		if diff := cmp.Diff(unordered(want), unordered(got), plain); diff != "" {
			t.Fatalf("apply(have, Diff(have, want)) (-want +got):\n%s", diff)
		}
		if rest := ipvs.Diff(got, want); len(rest) > 0 {
			t.Fatalf("Diff of equal tables = %v", rest)
		}
		var fresh ipvs.Table
		apply(t, &fresh, ipvs.Diff(ipvs.Table{}, want)...)
		if diff := cmp.Diff(want, fresh, plain); diff != "" {
			t.Fatalf("from nothing the order must be kept too (-want +got):\n%s", diff)
		}
	}
}

// What ipvsadm does not know it leaves alone, and what is deleted is forgotten.
func TestSettingsStay(t *testing.T) {
	table := oneService(t)
	vip := tcp("10.0.0.80:80")
	vip.Settings.Timeouts = ipvs.Timeouts{TCP: 7200}
	apply(t, &table, add(ipvs.SetService, vip), add(ipvs.EditService, tcp("10.0.0.80:80")))
	if got := table.Find(vip.Key).Settings; got != vip.Settings {
		t.Errorf("after an edit: %+v", got)
	}
	apply(t, &table, add(ipvs.DeleteService, vip), add(ipvs.AddService, vip))
	if got := table.Find(vip.Key).Settings; got != (ipvs.ServiceSettings{}) {
		t.Errorf("after deletion: %+v", got)
	}
}

func ExampleDiff() {
	vip := tcp("192.0.2.1:80")
	have, want := vip, vip
	have.Destinations = []ipvs.Destination{dest("10.0.0.2:80"), dest("10.0.0.1:80")}
	want.Destinations = []ipvs.Destination{dest("10.0.0.3:80"), dest("10.0.0.1:80", func(d *ipvs.Destination) { d.Weight = 0 })}
	changes := ipvs.Diff(ipvs.Table{Services: []ipvs.Service{have}}, ipvs.Table{Services: []ipvs.Service{want}})
	for _, c := range changes {
		fmt.Println(c)
	}
	// Output:
	// -e -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 0
	// -a -t 192.0.2.1:80 -r 10.0.0.3:80 -m -w 1
	// -d -t 192.0.2.1:80 -r 10.0.0.2:80
}
