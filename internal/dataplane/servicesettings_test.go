// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// setService changes the settings of a service, named as ipvsadm -A does.
func (b *bench) setService(option, vip string, settings ipvs.ServiceSettings) error {
	key := ipvs.Key{Protocol: ipvs.TCP, VIP: netip.MustParseAddrPort(vip)}
	if option == "-u" {
		key.Protocol = ipvs.UDP
	}
	return b.Dataplane.Apply(ipvs.Change{Op: ipvs.SetService, Service: ipvs.Service{Key: key, Settings: settings}})
}

func (b *bench) mustSetService(option, vip string, settings ipvs.ServiceSettings) {
	b.t.Helper()
	if err := b.setService(option, vip, settings); err != nil {
		b.t.Fatal(err)
	}
}

// lasts returns for how long the only connection is remembered.
func (b *bench) lasts() time.Duration {
	b.t.Helper()
	return b.conns()[0].Expires.Round(time.Second)
}

// A service's timeouts act from the next packet on, whichever side sends it;
// what it does not say, --set does.
func TestServiceTimeouts(t *testing.T) {
	b := established(t, "-m")
	set := func(t ipvs.Timeouts) { b.mustSetService("-t", "10.0.0.80:80", ipvs.ServiceSettings{Timeouts: t}) }
	set(ipvs.Timeouts{TCP: 7200})
	if got := b.lasts(); got != 15*time.Minute {
		t.Errorf("before a packet: %s", got)
	}
	b.send(serverMAC(11), tcp(server11, client, "A"))
	if got := b.lasts(); got != 2*time.Hour {
		t.Errorf("after a packet of the server: %s", got)
	}
	set(ipvs.Timeouts{TCP: 60, TCPFin: 33})
	b.send(clientMAC, tcp(client, vip, "A"))
	if got := b.lasts(); got != time.Minute {
		t.Errorf("after a packet of the client: %s", got)
	}
	b.apply("--set 3600 55 0")
	set(ipvs.Timeouts{TCPFin: 33})
	b.send(clientMAC, tcp(client, vip, "A"))
	if got := b.lasts(); got != time.Hour {
		t.Errorf("as --set says: %s", got)
	}
	b.send(serverMAC(11), tcp(server11, client, "FA"))
	if got := b.lasts(); got != 33*time.Second {
		t.Errorf("in FIN_WAIT: %s", got)
	}
	if got := b.ipvsadm("-L --timeout"); !strings.HasSuffix(got, "3600 55 300\n") {
		t.Errorf("the director's are %s", got)
	}
}

// They belong to the service: another has its own, a real server that comes later
// or comes back has them, and so have its successors' directors.
func TestServiceTimeoutsSurvive(t *testing.T) {
	config := Config{PinDir: pinDir(t), Namespace: 7}
	b := openPinned(t, config, 1<<20)
	b.apply("-A -u 10.0.0.80:53 -s rr", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -g",
		"-A -u 10.0.0.81:53 -s rr", "-a -u 10.0.0.81:53 -r 192.168.1.11:53 -g")
	b.mustSetService("-u", "10.0.0.80:53", ipvs.ServiceSettings{Timeouts: ipvs.Timeouts{UDP: 9}})
	b.mustSetService("-u", "10.0.0.81:53", ipvs.ServiceSettings{Timeouts: ipvs.Timeouts{UDP: 20}})
	b.close()
	b = openPinned(t, config, b.now)
	defer b.close()
	b.apply("-d -u 10.0.0.80:53 -r 192.168.1.11:53", "-a -u 10.0.0.80:53 -r 192.168.1.11:53 -g",
		"-d -u 10.0.0.81:53 -r 192.168.1.11:53", "-a -u 10.0.0.81:53 -r 192.168.1.12:53 -g")
	for address, want := range map[string]time.Duration{"10.0.0.80:53": 9 * time.Second, "10.0.0.81:53": 20 * time.Second} {
		b.clearConns()
		b.send(clientMAC, udp(client, netip.MustParseAddrPort(address), 'x'))
		if got := b.lasts(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if services, err := b.Services(); err != nil || services[1].Settings.Timeouts != (ipvs.Timeouts{UDP: 20}) {
		t.Errorf("services %+v, %v", services, err)
	}
}

// Services with equal timeouts share a set, and what none has any more is free
// for another.
func TestServiceTimeoutsRoom(t *testing.T) {
	b := newBench(t)
	address := func(n int) string {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}), 80).String()
	}
	for n := range 256 {
		b.apply("-A -t " + address(n))
	}
	set := func(n int, seconds uint32) error {
		return b.setService("-t", address(n), ipvs.ServiceSettings{Timeouts: ipvs.Timeouts{TCP: seconds}})
	}
	for n := range 255 {
		if err := set(n, uint32(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	var errno syscall.Errno
	if err := set(255, 1000); !errors.As(err, &errno) || errno != syscall.ENOMEM {
		t.Errorf("one set too many: %v", err)
	}
	for _, step := range []struct {
		n       int
		seconds uint32
	}{{255, 7}, {0, 2000}, {1, 0}, {255, 1000}} {
		if err := set(step.n, step.seconds); err != nil {
			t.Errorf("service %d, %d s: %v", step.n, step.seconds, err)
		}
	}
	if err := set(0, math.MaxInt32); !errors.As(err, &errno) || errno != syscall.EINVAL {
		t.Errorf("a timeout that is too long: %v", err)
	}
	if err := b.setService("-u", address(0), ipvs.ServiceSettings{}); !errors.As(err, &errno) || errno != syscall.ESRCH {
		t.Errorf("no such service: %v", err)
	}
}
