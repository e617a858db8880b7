// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// Packets on all CPUs, changes, lists and ageing at once, in a table that is too
// small: in the end each destination counts the entries that there are.
func TestConcurrent(t *testing.T) {
	b := newBenchOf(t, 64)
	for n := 1; n <= 4; n++ {
		b.apply(fmt.Sprintf("-A -t 10.0.0.8%d:80 -s %s%s", n, schedulerName(n%2 == 0), []string{"", " -p 20"}[n/3]))
		for server := 11; server <= 14; server++ {
			b.apply(fmt.Sprintf("-a -t 10.0.0.8%d:80 -r 192.168.1.%d:80 %s -w %d", n, server, []string{"-m", "-g", "-i"}[n%3], server-10))
		}
	}
	var packets, rest sync.WaitGroup
	for worker := range 4 {
		packets.Go(func() { b.sendMany(t, rand.New(rand.NewPCG(5, uint64(worker))), 40000) })
	}
	stop := make(chan struct{})
	for _, work := range []func(n int){
		func(int) { b.Age() },
		func(int) { b.Services() },
		func(int) { _ = b.conns() },
		func(int) { b.ForgetClientHops() },
		func(n int) { b.changeMany(t, n) },
		func(n int) { b.reap(time.Unix(int64(n)*200, 0)) },
	} {
		rest.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					work(n)
				}
			}
		})
	}
	packets.Wait()
	close(stop)
	rest.Wait()
	b.checkLoads()
	b.pass(time.Hour)
	b.ageAll()
	b.ageAll()
	if live, _ := b.Capacity(); live != 0 {
		t.Errorf("%d connections are counted when all are over", live)
	}
	b.wantPersistent("when all are over", "")
}

// sendMany sends packets of few clients, so that their entries are contested,
// and lets time pass.
func (b *bench) sendMany(t *testing.T, random *rand.Rand, count int) {
	out := make([]byte, 256)
	for n := range count {
		if n%100 == 0 {
			now := atomic.AddUint32(&b.now, uint32(random.IntN(int(b.clock.ticks(5*time.Second)))))
			if err := b.test.Set(directorTestCase{Now: now}); err != nil {
				t.Error(err)
				return
			}
		}
		c := clientNumber(random.IntN(200))
		v := addrPort(10, 0, 0, byte(81+random.IntN(4)), 80)
		s := addrPort(192, 168, 1, byte(11+random.IntN(4)), 80)
		f := frame(clientMAC, tcp(c, v, []string{"S", "A", "FA", "R", "S"}[random.IntN(5)]))
		if random.IntN(4) == 0 {
			f = frame(serverMAC(11), tcp(s, c, []string{"SA", "A", "FA", "R"}[random.IntN(4)]))
		}
		if _, err := b.program.Run(&ebpf.RunOptions{Data: f, DataOut: out}); err != nil {
			t.Errorf("run %x: %v", f, err)
			return
		}
	}
}

// changeMany takes destinations and services away and brings them back.
func (b *bench) changeMany(t *testing.T, n int) {
	service := fmt.Sprintf("-t 10.0.0.8%d:80", 1+n%4)
	method := []string{"-m", "-g", "-i"}[(1+n%4)%3]
	for _, line := range []string{
		"-d " + service + " -r 192.168.1.11:80",
		"-e " + service + " -r 192.168.1.12:80 " + method + fmt.Sprintf(" -w %d", n%5),
		"-a " + service + " -r 192.168.1.11:80 " + method,
	} {
		if out := b.ipvsadm(line); out != "" {
			t.Errorf("%s: %s", line, out)
		}
	}
	b.resolve()
}
