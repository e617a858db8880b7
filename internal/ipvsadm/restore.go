// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// largestBatch is how many changes go to the director in one call at most.
const largestBatch = 1000

// restore runs command lines. As in ipvsadm a line that is refused does not stop
// the others, nor does one with an option that is not there or lacks its value; any
// other that is not understood does. The exit status is that of the last line.
func (s *session) restore(lines io.Reader) int {
	if s.restoring { // "-R" among the lines would read on for ever
		return s.report(askForHelp())
	}
	s.restoring = true

	// A large table is many small things that are soon forgotten.
	defer debug.SetGCPercent(debug.SetGCPercent(400))

	in := bufio.NewReaderSize(lines, 1<<16)
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
			if !batch.send() {
				return batch.code
			}
		}
		if err != nil && !batch.flush() {
			return batch.code
		}
		switch {
		case err == io.EOF:
			return batch.code
		case err != nil:
			return s.report(fmt.Errorf("read rules: %w", err))
		}
	}
}

// isSpace tells what is between words.
func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// isName tells what ipvsadm leaves out wherever it stands.
func isName(word string) bool { return word == "ipvsadm" }

// restoreLine runs one line and tells whether another may follow.
func (s *session) restoreLine(line string, b *batch) (more bool) {
	words := slices.DeleteFunc(strings.FieldsFunc(line, isSpace), isName)
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
		f, ok := errors.AsType[*failure](err)
		return ok && f.lineOnly
	}
	b.code = s.execute(r)
	return b.code != exitMissing && r.command != help && r.command != version && r.command != restore
}

// batch collects changes for the director, which makes them while more lines are
// read.
type batch struct {
	session *session
	changes []ipvs.Change
	sent    []ipvs.Change // before, whose place is used again
	made    chan outcome  // comes when those sent are made; nil: none are sent
	code    int           // exit status of the last line
}

type outcome struct {
	code int
	lost bool
}

// flush has all changes made, and returns when they are. It tells false when the
// director cannot be reached.
func (b *batch) flush() bool {
	return b.send() && b.wait()
}

// send has the changes made after those that were sent before.
func (b *batch) send() bool {
	if !b.wait() {
		return false
	}
	if len(b.changes) == 0 {
		return true
	}
	b.changes, b.sent = b.sent[:0], b.changes
	made, changes := make(chan outcome, 1), b.sent
	go func() {
		code, lost := b.session.applyAll(changes)
		made <- outcome{code, lost}
	}()
	b.made = made
	return true
}

// wait returns when what was sent is made.
func (b *batch) wait() bool {
	if b.made == nil {
		return true
	}
	o := <-b.made
	b.made, b.code = nil, o.code
	return !o.lost
}

// applyAll makes all changes that the director accepts, reports the others and
// returns the exit status of the last. lost tells that an error was no refusal, so
// that the rest was not tried.
func (s *session) applyAll(changes []ipvs.Change) (code int, lost bool) {
	refused, err := s.director.ApplyEach(changes...)
	for _, i := range slices.Sorted(maps.Keys(refused)) {
		code = s.report(refused[i])
	}
	if err != nil {
		return s.report(err), true
	}
	if refused[len(changes)-1] == nil {
		return 0, false
	}
	return code, false
}
