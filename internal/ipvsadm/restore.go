// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// largestBatch is how many changes go to the director in one call at most.
const largestBatch = 1000

// restore runs the command lines on standard input. As in ipvsadm a line that is
// refused does not stop the others, a line that is not understood does, and the
// exit status is that of the last line.
func (s *session) restore() int {
	if s.restoring { // "-R" among the lines would read on for ever
		return s.report(askForHelp())
	}
	s.restoring = true

	in := bufio.NewReaderSize(s.Stdin, 1<<16)
	batch := batch{session: s}
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			if more := s.restoreLine(line, &batch); !more {
				return batch.code
			}
		}
		// Lines wait for each other only while more are here already: a line
		// typed by hand takes effect at once.
		if in.Buffered() == 0 || len(batch.changes) >= largestBatch {
			if !batch.flush() {
				return batch.code
			}
		}
		switch {
		case err == io.EOF:
			return batch.code
		case err != nil:
			return s.report(fmt.Errorf("read rules: %w", err))
		}
	}
}

// restoreLine runs one line and tells whether another may follow.
func (s *session) restoreLine(line string, b *batch) (more bool) {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
	if len(words) > 0 && words[0] == s.name {
		words = words[1:]
	}
	if len(words) == 0 {
		return true
	}
	r, err := parse(s.names, words)
	if err == nil {
		if c, ok := r.change(); ok {
			b.changes = append(b.changes, c)
			return true
		}
	}
	if !b.flush() {
		return false
	}
	if err != nil {
		b.code = s.report(err)
		return false
	}
	b.code = s.execute(r)
	return r.command != help && r.command != version && r.command != restore
}

// batch collects changes for the director.
type batch struct {
	session *session
	changes []ipvs.Change
	code    int // exit status of the last line
}

// flush applies the changes. It tells false when the director cannot be reached.
func (b *batch) flush() bool {
	if len(b.changes) == 0 {
		return true
	}
	var lost bool
	b.code, lost = b.session.applyAll(b.changes)
	b.changes = b.changes[:0]
	return !lost
}

// apply makes the changes and returns the exit status of the last.
func (s *session) apply(changes []ipvs.Change) int {
	code, _ := s.applyAll(changes)
	return code
}

// applyAll makes all changes that the director accepts and reports the others.
// lost tells that an error was no refusal, so that the rest was not tried.
func (s *session) applyAll(changes []ipvs.Change) (code int, lost bool) {
	for len(changes) > 0 {
		applied, err := s.director.Apply(changes...)
		if err == nil {
			return 0, false
		}
		var refusal *ipvs.Refusal
		if !errors.As(err, &refusal) || applied < 0 || applied >= len(changes) {
			return s.report(err), true
		}
		named := *refusal
		named.Op = changes[applied].Op
		code = s.report(&named)
		changes = changes[applied+1:]
	}
	return code, false
}
