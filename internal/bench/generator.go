// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"runtime"
)

// generator is a second driver, on a CPU of its own.
type generator struct {
	driver *driver
	work   chan func() error
	done   chan error
}

// startGenerator keeps its driver on a link. The calling thread may be pinned to another CPU.
func startGenerator(cpu int, link string) (*generator, error) {
	d, err := newDriver(usualServers)
	if err != nil {
		return nil, err
	}
	if err := d.keep(link); err != nil {
		return nil, errors.Join(err, d.close())
	}
	g := &generator{driver: d, work: make(chan func() error), done: make(chan error)}
	go g.run()
	g.begin(func() error { _, err := takeCPU(cpu); return err })
	if err := g.end(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// run works on a thread that is never unlocked: it ends, pinned as it is, with
// the goroutine.
func (g *generator) run() {
	runtime.LockOSThread()
	for f := range g.work {
		g.done <- f()
	}
}

// begin has f done; end waits for that.
func (g *generator) begin(f func() error) { g.work <- f }

func (g *generator) end() error { return <-g.done }

func (g *generator) close() error {
	close(g.work)
	return g.driver.close()
}
