// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

// process is a program that stays running in a node. What it says goes to a
// file, so that it can go on when the lab's own process has ended.
type process struct {
	cmd   *host.Command
	log   string
	ended chan struct{} // closed when it has ended, and err is set
	err   error
}

func start(cmd *host.Command, log string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	// Ctrl-C is for the lab, which then ends its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(cmd.Args, " "), err)
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// check returns why the process is not running, with its last words.
func (p *process) check() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %w%s", strings.Join(p.cmd.Args, " "), cause(p.err), lastWords(p.log))
	default:
		return nil
	}
}

// cause gives an end without an error a name, too.
func cause(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// context returns one that ends, for the cause that check returns, when the
// process does.
func (p *process) context(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.ended:
			cancel(p.check())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// kill ends the process as a crash would, and waits for that.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process: %w", err)
	}
	<-p.ended
	return nil
}

// awaitReady asks until the answer is yes, the process has ended or the time
// is over.
func (p *process) awaitReady(ctx context.Context, limit time.Duration, ready func() error) error {
	ctx, stop := p.context(ctx)
	defer stop()
	err := poll(ctx, limit, ready)
	if ended := p.check(); ended != nil {
		return ended
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w%s", strings.Join(p.cmd.Args, " "), err, lastWords(p.log))
	}
	return nil
}

// poll asks until the answer is nil, or returns the last one when the time is
// over.
func poll(ctx context.Context, limit time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// lastWords returns the end of a log as further lines of an error.
func lastWords(log string) string {
	text, err := os.ReadFile(log)
	text = bytes.TrimSpace(text)
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	return "\n  " + strings.Join(lines[max(0, len(lines)-10):], "\n  ")
}
