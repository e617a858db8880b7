// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// The kernel's rules for what lblc and lblcr remember (ip_vs_lblc.c,
// ip_vs_lblcr.c).
const (
	cacheMax     = 16 * 1024 // CONFIG_IP_VS_LBLC_TAB_BITS is 10: 16 a row
	cacheMinIdle = 6 * time.Minute
)

// CacheInterval is how often to call SweepCaches.
const CacheInterval = time.Minute

// isCaching tells whether a scheduler remembers who served an address.
func isCaching(scheduler directorScheduler) bool {
	return scheduler == directorSchedulerSCHEDULER_LBLC || scheduler == directorSchedulerSCHEDULER_LBLCR
}

// newCache returns the number of a new cache. What an old one remembers is not
// found any more, at once.
func newCache() uint64 {
	return rand.Uint64()
}

// SweepCaches forgets the addresses that nobody asked for in a long time, and
// what is left of services that are gone.
func (d *Dataplane) SweepCaches() error {
	d.mu.Lock()
	live := make(map[uint64]time.Duration)
	for _, s := range d.byKey {
		if entry := &d.services.at[s.index]; isCaching(entry.Scheduler) {
			live[entry.Cursor] = d.expiration(fromScheduler(entry.Scheduler) + "_expiration")
		}
	}
	now := d.clock.now()
	d.mu.Unlock()

	entries, err := d.readCaches()
	if err != nil {
		return err
	}
	kept := d.keptAddresses(entries, live, now)
	for key := range entries {
		if kept[addressOf(key)] {
			continue
		}
		if err := d.maps.Caches.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a cached address: %w", err)
		}
	}
	return nil
}

// keptAddresses returns the addresses that stay remembered: those of live caches
// that were asked for within the time that is theirs. A cache with too many
// gives up idle ones.
func (d *Dataplane) keptAddresses(entries map[directorCacheKey]directorCacheEntry, live map[uint64]time.Duration, now uint32) map[directorCacheKey]bool {
	kept := make(map[directorCacheKey]bool)
	sizes := make(map[uint64]int)
	idle := func(key directorCacheKey) time.Duration {
		return d.clock.duration(uint32(max(0, int32(now-entries[key].Used))))
	}
	for key := range entries {
		if key == addressOf(key) && idle(key) < live[key.Cache] {
			kept[key] = true
			sizes[key.Cache]++
		}
	}
	surplus := make(map[uint64]int)
	for cache, n := range sizes {
		surplus[cache] = min((n-cacheMax)*4/3, cacheMax/2)
	}
	for key := range kept {
		if surplus[key.Cache] > 0 && idle(key) >= cacheMinIdle {
			surplus[key.Cache]--
			delete(kept, key)
		}
	}
	return kept
}

// cached is a destination in a cache.
type cached struct {
	cache uint64
	dest  uint32
}

// cachesOf returns what the service's cache, if it has one, may remember of a
// destination.
func (d *Dataplane) cachesOf(dest *destination) []cached {
	entry := &d.services.at[dest.service.index]
	if dest.service.deleted || !isCaching(entry.Scheduler) {
		return nil
	}
	return []cached{{entry.Cursor, dest.index}}
}

// forgetCached makes caches forget destinations whose entries others may get.
func (d *Dataplane) forgetCached(gone []cached) error {
	if len(gone) == 0 {
		return nil
	}
	entries, err := d.readCaches()
	if err != nil {
		return err
	}
	for key, entry := range entries {
		dest := key.Dest
		if dest == destNone { // of lblcr's sets it names none
			dest = entry.Dest
		}
		if !slices.Contains(gone, cached{key.Cache, dest}) {
			continue
		}
		if err := d.maps.Caches.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a cached destination: %w", err)
		}
	}
	return nil
}

// addressOf returns the key of the address that an entry belongs to.
func addressOf(key directorCacheKey) directorCacheKey {
	key.Dest = destNone
	return key
}

// destNone is bpf/types/dest.h: DEST_NONE.
const destNone = 0xffffffff

func (d *Dataplane) readCaches() (map[directorCacheKey]directorCacheEntry, error) {
	entries := make(map[directorCacheKey]directorCacheEntry)
	var key directorCacheKey
	var entry directorCacheEntry
	each := d.maps.Caches.Iterate()
	for each.Next(&key, &entry) {
		entries[key] = entry
	}
	// An entry that went meanwhile may send the iterator back to the start, too
	// often in the end. What was not read has time until the next sweep.
	if err := each.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("read caches: %w", err)
	}
	return entries, nil
}
