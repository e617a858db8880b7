// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lock(dir)
	if !errors.Is(err, ErrRunning) || !strings.HasSuffix(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	unlock, err = lock(dir)
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	unlock()
}

// Directors that come and go, each removing the file that it locked, are never
// two at a time.
func TestLockWhileDirectorsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	var directors, most atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				unlock, err := lock(dir)
				if errors.Is(err, ErrRunning) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := directors.Add(1); n > most.Load() {
					most.Store(n)
				}
				_, _ = os.ReadDir(dir) // what a director does takes a while
				directors.Add(-1)
				if err := removeFiles(dir); err != nil {
					t.Error(err)
				}
				unlock()
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d directors at a time", most.Load())
	}
}
