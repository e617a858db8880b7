// SPDX-License-Identifier: Apache-2.0

// Package lab plays clusters in network namespaces: a client, a director and
// real servers for each forwarding method, with the lvsx binary doing in each
// of them what it does on a machine, and real requests over real sockets. It
// measures nothing that the director or the kernel has not counted.
//
//	topology.go  the three networks, drawn
//	network.go   the same as namespaces and links
//	cluster.go   what runs in them
//	director.go  the director among it, and its service
//	server.go    a real server's web server
//	traffic.go   the client
//	lab.go       one after the other, and away again
//	state.go     one lab at a time, and what is left of one
//	nested.go    directors behind the director
//	report.go    what the user sees
package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

// Plan is what a lab shall show.
type Plan struct {
	Methods  []Method
	Requests int
	Weights  []int // of the servers; nil: round robin, then briefly weighted
	Keep     bool  // leave the clusters standing
	Options
}

// Result is what one method has shown.
type Result struct {
	Method Method `json:"method"`
	Round
	Director Passed            `json:"director"`
	Inner    map[string]Passed `json:"inner,omitempty"` // by the inner directors' names

	xdp      host.XDPMode
	received uint64 // packets, of whatever kind, by the director's interfaces
}

// Report is what a lab has shown.
type Report struct {
	Methods []Result `json:"methods"`
}

// weightedRequests is how many requests for each unit of weight the brief
// weighted round sends.
const weightedRequests = 10

// Run builds a cluster for each method, sends the requests and takes the
// cluster down. Nothing is left of it when it fails or ctx ends; with Keep,
// the clusters of a run that succeeds stay.
func Run(ctx context.Context, plan Plan, show *Screen) (report Report, err error) {
	if err := plan.check(); err != nil {
		return Report{}, err
	}
	hold, err := acquire(plan.Name)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, hold.release(plan.Keep && err == nil)) }()
	defer func() { err = explainInterruption(ctx, err) }()
	if _, err := removeAll(plan.Name); err != nil {
		return Report{}, fmt.Errorf("remove what an interrupted lab left: %w", err)
	}
	plan.Logs = hold.path

	var kept []*Cluster
	defer func() {
		if err == nil {
			return
		}
		for _, c := range kept {
			err = errors.Join(err, c.Remove())
		}
	}()
	for _, method := range plan.Methods {
		result, cluster, err := runMethod(ctx, method, plan, show)
		if err != nil {
			return report, fmt.Errorf("%s: %w", method, err)
		}
		report.Methods = append(report.Methods, result)
		if cluster != nil {
			kept = append(kept, cluster)
		}
	}
	return report, nil
}

func (p Plan) check() error {
	if os.Geteuid() != 0 {
		return errors.New("build lab: only root may make network namespaces; try `sudo`")
	}
	if p.Requests < 0 {
		return fmt.Errorf("requests %d: not a number of requests", p.Requests)
	}
	if err := p.checkWeights(); err != nil {
		return err
	}
	return p.Options.check()
}

func (p Plan) checkWeights() error {
	if p.Weights == nil {
		return nil
	}
	if slices.ContainsFunc(p.Methods, Method.IsNested) {
		return errors.New("weights: of the scenario methods only")
	}
	if len(p.Weights) > p.Servers {
		return fmt.Errorf("%d weights: more than servers, of which there are %d", len(p.Weights), p.Servers)
	}
	for _, w := range p.Weights {
		if w < 0 {
			return fmt.Errorf("weight %d: less than none", w)
		}
		if w > math.MaxInt32 {
			return fmt.Errorf("weight %d: more than %d", w, math.MaxInt32)
		}
	}
	if slices.Max(p.Weights) == 0 {
		return errors.New("weights 0: nobody would answer")
	}
	return nil
}

// explainInterruption says so if nothing is left, and else what went wrong.
func explainInterruption(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, errLeft) {
		return err
	}
	return errors.New("lab interrupted; nothing is left of it")
}

// runMethod returns the cluster only if it is to be kept.
func runMethod(ctx context.Context, method Method, plan Plan, show *Screen) (_ Result, kept *Cluster, err error) {
	show.begin(method)
	plan.Told = show.command
	c, err := Build(ctx, method, plan.Options)
	if err != nil {
		return Result{}, nil, err
	}
	defer func() {
		if !plan.Keep || err != nil {
			err = errors.Join(err, c.Remove())
		}
	}()
	result := Result{Method: method}
	if result.xdp, err = c.DirectorXDP(); err != nil {
		return Result{}, nil, err
	}
	if plan.Weights != nil {
		if err := c.SetWeights(plan.Weights); err != nil {
			return Result{}, nil, err
		}
	}
	if err := c.measure(&result, func() (err error) {
		result.Round, err = c.sendShown(ctx, plan.Requests, show)
		return err
	}); err != nil {
		return Result{}, nil, err
	}
	show.passed(result)
	if plan.Weights == nil && !method.IsNested() {
		err = c.showWeights(ctx, show)
	}
	return result, c, err
}

// measure notes what goes through the director while send runs.
func (c *Cluster) measure(r *Result, send func() error) error {
	passed, err := c.Passed()
	if err != nil {
		return err
	}
	inner, err := c.PassedInner()
	if err != nil {
		return err
	}
	links, err := c.NodeTraffic(director)
	if err != nil {
		return err
	}
	if err := send(); err != nil {
		return err
	}
	after, err := c.NodeTraffic(director)
	if err != nil {
		return err
	}
	r.received = after.RxPackets - links.RxPackets
	now, err := c.Passed()
	if err != nil {
		return err
	}
	r.Director = now.sub(passed)
	r.Inner, err = c.PassedInner()
	for name := range r.Inner {
		r.Inner[name] = r.Inner[name].sub(inner[name])
	}
	return err
}

// showWeights sends a few requests more, with weights 1, 2, 3 and so on.
func (c *Cluster) showWeights(ctx context.Context, show *Screen) error {
	var weights []int
	sum := 0
	for i := range min(len(c.Servers), 9) {
		weights = append(weights, i+1)
	}
	for i := range c.Servers {
		sum += weights[i%len(weights)]
	}
	if err := c.SetWeights(weights); err != nil {
		return err
	}
	round, err := c.sendShown(ctx, weightedRequests*sum, show)
	if err != nil {
		return err
	}
	if round.Failed > 0 {
		return fmt.Errorf("%d of %d weighted requests failed: %w", round.Failed, round.Requests, round.FirstError)
	}
	return nil
}

func (c *Cluster) sendShown(ctx context.Context, requests int, show *Screen) (Round, error) {
	ctx, stop := c.director.context(ctx)
	defer stop()
	started := time.Now()
	round, err := c.Send(ctx, requests, func(done int) { show.count(c, done, requests) })
	if round.Requests > 0 {
		show.round(c, round, time.Since(started))
	}
	return round, err
}

// Err returns an error if not every request was answered, or a reply went
// through a director that it should bypass.
func (r Report) Err() error {
	var errs []error
	for _, m := range r.Methods {
		if m.Failed > 0 {
			errs = append(errs, fmt.Errorf("%s: %d of %d requests failed: %w", m.Method, m.Failed, m.Requests, m.FirstError))
		}
		if m.Method.bypasses() && m.Director.ServerToClientPackets > 0 {
			errs = append(errs, fmt.Errorf("%s: %d packets of replies went through the director", m.Method, m.Director.ServerToClientPackets))
		}
	}
	return errors.Join(errs...)
}
