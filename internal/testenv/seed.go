// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

// defaultSeed is the same for everybody, so that a change is judged by what it
// changes and not by what the dice show. `make hunt` throws them.
const defaultSeed = 1

// Seed gives what a test makes its random packets, stories and tables by, and
// tells it where the test fails: LVSX_SEED, which may be a number, or random for
// one that nobody had before, the same for all tests of a process.
func Seed(tb testing.TB) uint64 {
	tb.Helper()
	seed, err := seedOfProcess()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("LVSX_SEED=%d", seed)
	return seed
}

var seedOfProcess = sync.OnceValues(func() (uint64, error) { return readSeed(os.Getenv("LVSX_SEED")) })

func readSeed(text string) (uint64, error) {
	switch text {
	case "":
		return defaultSeed, nil
	case "random":
		return rand.Uint64(), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read LVSX_SEED, a number or random: %w", err)
	}
	return seed, nil
}
